"""Memory of a training process and its two workers while they load; a process of its own, started by benchmarks.loader.

The data set has as many images, names and boxes as COCO, but tiny images. Memory is the PSS of all processes together
in megabytes: it counts shared memory once.
"""

import gc
import itertools
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.command import Tiny
from detnas.config import TrainingSettings
from detnas.data.batches import count_loader_processes, iterate_batches
from detnas.data.detection import Category, DetectionSet
from detnas.data.images import read_image
from detnas.data.packed_paths import PackedPaths
from detnas.data.samples import DetectionSamples
from detnas.training.tasks import DetectionTask

BOXES, BATCH_SIZE, SIDE, DIFFERENT = 7, 16, 16, 20
WORKERS = count_loader_processes(2)


def write_links(folder: Path, count: int) -> list[str]:
    """`count` file names like COCO's, which are hard links to a few images."""
    for number in range(DIFFERENT):
        Image.new("RGB", (SIDE, SIDE), (number, 0, 0)).save(folder / f"{number}.png")
    names = [str(folder / f"{number:012d}.png") for number in range(count)]
    for number, name in enumerate(names):
        os.link(folder / f"{number % DIFFERENT}.png", name)
    return names


def packed(names: list[str]) -> DetectionSet:
    count, rows = len(names), BOXES * len(names)
    return DetectionSet(
        files=PackedPaths(names),
        image_ids=tuple(range(count)),
        sizes=np.full((count, 2), SIDE),
        boxes=np.random.default_rng(0).uniform(1, 7, (rows, 4)),
        labels=np.arange(rows) % 80,
        areas=np.full(rows, 16.0),
        crowd=np.zeros(rows, np.bool_),
        starts=BOXES * np.arange(count + 1),
        categories=tuple(Category(number, f"category {number}") for number in range(80)),
    )


class Listed(Dataset[Any]):
    """The same data set as lists of dictionaries, as most code keeps it."""

    def __init__(self, names: list[str]) -> None:
        boxes = np.random.default_rng(0).uniform(1, 7, (len(names), BOXES, 4)).tolist()
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


def batches_of(name: str, names: list[str], steps: int) -> Iterable[Any]:
    if name == "detnas":
        settings = TrainingSettings(steps=steps, batch_size=BATCH_SIZE, lr=0.1)
        task = DetectionTask(DetectionSamples(packed(names), settings, cache_mb=0, group_by_aspect=True))
        return iterate_batches(
            task.samples, task.collate, batch_size=BATCH_SIZE, seed=0, start=0, stop=steps, workers=WORKERS
        )
    loader = DataLoader(Listed(names), BATCH_SIZE, shuffle=True, num_workers=WORKERS, multiprocessing_context="fork")
    return itertools.islice(itertools.chain.from_iterable(itertools.repeat(loader)), steps)


def megabytes() -> float:
    """The PSS of this process and its children together."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    lines = [line for pid in ("self", *children) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
    return round(sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000, 1)


def main(
    name: Annotated[str, typer.Argument(metavar="NAME", help="detnas, or anything else for lists of dictionaries.")],
    tiny: Tiny = False,
) -> None:
    """Load for 2,000 steps, and print the memory by step as JSON."""
    images, steps, interval = (2000, 40, 10) if tiny else (120_000, 2000, 250)
    by_step = {}
    with tempfile.TemporaryDirectory() as temporary:
        loaded = batches_of(name, write_links(Path(temporary), images), steps)
        gc.collect()
        for step, _ in enumerate(loaded, start=1):
            if step % interval == 0 or step == interval // 5:
                by_step[step] = megabytes()
    grown = by_step[max(by_step)] - by_step[min(by_step)]
    print(json.dumps({"megabytes by step": by_step, "grown": round(grown, 1)}))


if __name__ == "__main__":
    typer.run(main)
