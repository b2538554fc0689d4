"""Memory of a training process and its workers while they load: started by benchmarks/loader.py, prints JSON.

python benchmarks/loader_memory.py detnas | "lists of dictionaries" [--tiny]: of a data set of COCO's size (in names, boxes;
the images are tiny), over 2,000 steps with two workers. Megabytes of PSS, which counts shared memory once, of all
processes together.
"""

import gc
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from detnas.config import TrainingSettings
from detnas.data.batches import batches, loading_processes
from detnas.data.detection import Category, DetectionSet
from detnas.data.images import read_image
from detnas.data.packed_paths import PackedPaths
from detnas.data.samples import DetectionSamples
from detnas.training.tasks import DetectionTask

TINY = "--tiny" in sys.argv
IMAGES, STEPS, EVERY = (2000, 40, 10) if TINY else (120_000, 2000, 250)
BOXES, BATCH, SIDE, DIFFERENT = 7, 16, 16, 20
WORKERS = loading_processes(2)


def write_links(folder: Path) -> list[str]:
    """Names of COCO's kind for a few images."""
    for number in range(DIFFERENT):
        Image.new("RGB", (SIDE, SIDE), (number, 0, 0)).save(folder / f"{number}.png")
    names = [str(folder / f"{number:012d}.png") for number in range(IMAGES)]
    for number, name in enumerate(names):
        os.link(folder / f"{number % DIFFERENT}.png", name)
    return names


def packed(names: list[str]) -> DetectionSet:
    rows = BOXES * IMAGES
    return DetectionSet(
        files=PackedPaths(names),
        image_ids=tuple(range(IMAGES)),
        sizes=np.full((IMAGES, 2), SIDE),
        boxes=np.random.default_rng(0).uniform(1, 7, (rows, 4)),
        labels=np.arange(rows) % 80,
        areas=np.full(rows, 16.0),
        crowd=np.zeros(rows, np.bool_),
        starts=BOXES * np.arange(IMAGES + 1),
        categories=tuple(Category(number, f"category {number}") for number in range(80)),
    )


class Listed(Dataset[Any]):
    """The same data set as most code keeps one."""

    def __init__(self, names: list[str]) -> None:
        boxes = np.random.default_rng(0).uniform(1, 7, (IMAGES, BOXES, 4)).tolist()
        self.images = [
            {
                "id": number,
                "file": Path(name),
                "annotations": [
                    {"bbox": box, "category_id": row, "iscrowd": 0} for row, box in enumerate(boxes[number])
                ],
            }
            for number, name in enumerate(names)
        ]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        image: dict[str, Any] = self.images[index]
        boxes = torch.tensor([annotation["bbox"] for annotation in image["annotations"]])
        labels = torch.tensor([annotation["category_id"] for annotation in image["annotations"]])
        return read_image(image["file"]), boxes, labels


def stream(name: str, folder: Path) -> Iterable[Any]:
    names = write_links(folder)
    if name == "detnas":
        settings = TrainingSettings(steps=STEPS, batch_size=BATCH, lr=0.1)
        task = DetectionTask(DetectionSamples(packed(names), settings, cache_mb=0, group_by_aspect=True))
        return batches(task.samples, task.collate, batch_size=BATCH, seed=0, start=0, stop=STEPS, workers=WORKERS)
    loader = DataLoader(Listed(names), BATCH, shuffle=True, num_workers=WORKERS, multiprocessing_context="fork")
    return itertools.islice(itertools.chain.from_iterable(itertools.repeat(loader)), STEPS)


def megabytes() -> float:
    """PSS of this process and its children."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    lines = [line for pid in ("self", *children) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
    return round(sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000, 1)


def main() -> None:
    by_step = {}
    with tempfile.TemporaryDirectory() as temporary:
        batches_of_run = stream(sys.argv[1], Path(temporary))
        gc.collect()
        for step, _ in enumerate(batches_of_run, start=1):
            if step % EVERY == 0 or step == EVERY // 5:
                by_step[step] = megabytes()
    steps = list(by_step)
    print(json.dumps({"megabytes by step": by_step, "grown": round(by_step[steps[-1]] - by_step[steps[0]], 1)}))


if __name__ == "__main__":
    main()
