"""How fast images come, and what memory loading takes: python -m benchmarks.loader writes benchmarks/results/loader.json.

Throughput on JPEG files of COCO's and ImageNet's size, and of a camera's, beside plain torchvision with the same
changes at random and the same number of workers: rounds in which all take turns, each with a loader of its own, whose
first batch (the start of the workers) is not counted. Memory as `loader_memory.py` says. About three minutes on two
cores; with `--tiny`, a quick trial that prints its JSON only.
"""

import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import CocoDetection, ImageFolder, wrap_dataset_for_transforms_v2
from torchvision.transforms import v2

from benchmarks.machine import machine
from detnas.config import FPNSettings, Preprocessing, TrainingSettings
from detnas.data.batches import StepSampler, batches, loading_processes
from detnas.data.disk_cache import DiskCache
from detnas.data.downscaling import downscale_sizes
from detnas.data.formats.coco.read import read_coco
from detnas.data.image_folder import read_image_folder
from detnas.data.images import Images
from detnas.data.samples import ClassSamples, DetectionSamples
from detnas.data.synthetic import CLASS_SIZES, DETECTION_SIZES, QUALITY, textured_jpeg
from detnas.training.tasks import ClassificationTask, DetectionTask
from detnas.utils.files import write_json

TINY = "--tiny" in sys.argv
IMAGES, ROUNDS, BATCHES = (24, 1, 4) if TINY else (300, 5, 20)
PHOTOS = 8 if TINY else 48
PHOTO_SIZES = ((2400, 1800), (1800, 2400))
CLASSES, CATEGORIES, BOXES = 10, 80, 7
WORKERS = loading_processes(2)
CACHES = ("none", "disk", "memory")
ROOM = 10_000
"""Megabytes, more than all images take."""
Contender = Callable[[int], Iterable[Any]]
"""Gives the batches of a round."""


def write_images(folder: Path, count: int, sizes: tuple[tuple[int, int], ...], classes: int) -> list[dict[str, Any]]:
    """JPEG files, all different, in `classes` folders; returns COCO's entries of them."""
    rng = np.random.default_rng(0)
    side = 2 * max(max(size) for size in sizes)
    ground = Image.open(io.BytesIO(textured_jpeg(rng, min(side, 4000), min(side, 4000))))
    entries = []
    for number in range(count):
        width, height = sizes[number % len(sizes)]
        x, y = (int(rng.integers(ground.width - side)) for side in (width, height))
        name = f"class {number % classes}/{number}.jpg"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        ground.crop((x, y, x + width, y + height)).save(folder / name, quality=QUALITY)
        entries.append({"id": number + 1, "file_name": name, "width": width, "height": height})
    return entries


def write_annotations(path: Path, images: list[dict[str, Any]]) -> None:
    annotations = [
        {
            "id": BOXES * image["id"] + number,
            "image_id": image["id"],
            "category_id": number + 1,
            "bbox": [10.0 * number, 5.0 * number, 60.0, 90.0],
            "area": 5400.0,
            "iscrowd": 0,
        }
        for image in images
        for number in range(BOXES)
    ]
    categories = [{"id": number + 1, "name": f"category {number}"} for number in range(CATEGORIES)]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def classification(folder: Path, cache: Path, batch_size: int) -> dict[str, Contender]:
    settings = TrainingSettings(steps=10, batch_size=batch_size, lr=0.1, color_jitter=0.4)
    jitter = settings.color_jitter
    changes = v2.Compose(
        [
            v2.PILToTensor(),
            v2.RandomResizedCrop(224, scale=(0.08, 1.0), antialias=True),
            v2.ColorJitter(jitter, jitter, jitter),
            v2.RandomHorizontalFlip(settings.flip),
        ]
    )
    files, labels, _ = read_image_folder(folder)

    def ours(name: str) -> Contender:
        disk = DiskCache(cache, ROOM) if name == "disk" else None
        samples = ClassSamples(Images(files, ROOM * (name == "memory"), disk=disk), labels, 224, 0.08, settings)
        return of_task(ClassificationTask(samples, 0.1, Preprocessing()), batch_size)

    return {
        "torchvision": plain(ImageFolder(str(folder), changes), None, batch_size),
        **{name: ours(name) for name in CACHES},
    }


def detection(folder: Path, annotations: Path, cache: Path, batch_size: int) -> dict[str, Contender]:
    settings = TrainingSettings(steps=10, batch_size=batch_size, lr=0.1)
    changes = v2.Compose([v2.ToImage(), v2.RandomHorizontalFlip(settings.flip)])
    data = read_coco(annotations, folder)
    reference = wrap_dataset_for_transforms_v2(
        CocoDetection(str(folder), str(annotations), transforms=changes), target_keys=("boxes", "labels")
    )

    def ours(name: str) -> Contender:
        disk = DiskCache(cache, ROOM) if name == "disk" else None
        cache_mb = ROOM * (name == "memory")
        samples = DetectionSamples(data, settings, cache_mb, detector=FPNSettings(), disk=disk, group_by_aspect=True)
        return of_task(DetectionTask(samples), batch_size)

    return {"torchvision": plain(reference, unzipped, batch_size), **{name: ours(name) for name in CACHES}}


def unzipped(samples: list[Any]) -> tuple[Any, ...]:
    return tuple(zip(*samples, strict=True))


def plain(dataset: Any, collate: Callable[[Any], Any] | None, batch_size: int) -> Contender:
    class Epochs:
        """Shuffled epochs, as many as a round needs."""

        def __iter__(self) -> Iterable[list[int]]:
            rng = np.random.default_rng(0)
            order = np.concatenate(
                [rng.permutation(len(dataset)) for _ in range(1 + BATCHES * batch_size // len(dataset))]
            )
            return iter(order[: BATCHES * batch_size].reshape(-1, batch_size).tolist())

    def begin(number: int) -> Iterable[Any]:
        return DataLoader(dataset, batch_sampler=Epochs(), num_workers=WORKERS, collate_fn=collate)

    return begin


def of_task(task: Any, batch_size: int) -> Contender:
    def begin(number: int) -> Iterable[Any]:
        start = number * BATCHES
        return batches(
            task.samples,
            task.collate,
            batch_size=batch_size,
            seed=0,
            start=start,
            stop=start + BATCHES,
            workers=WORKERS,
        )

    return begin


def throughput(contenders: dict[str, Contender], batch_size: int) -> dict[str, Any]:
    """Images a second, and times torchvision's, the medians of all rounds."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in contenders["disk"](0):  # fills its cache: ours is measured full
        pass
    for number in range(ROUNDS):
        for name, begin in contenders.items():
            first = last = 0.0
            for _ in begin(number):
                last = time.perf_counter()
                first = first or last
            rates[name].append((BATCHES - 1) * batch_size / (last - first))
    return {
        name: {
            "images a second": round(statistics.median(own), 1),
            "times torchvision": round(
                statistics.median(one / other for one, other in zip(own, rates["torchvision"], strict=True)), 2
            ),
        }
        for name, own in rates.items()
    }


def padding() -> dict[str, float]:
    """Pixels of padded batches over those of their images, of COCO's sizes in the paper's detector."""
    sizes = np.array([DETECTION_SIZES[number % len(DETECTION_SIZES)] for number in range(3000)])
    scale = np.minimum(800 / sizes.min(axis=1), 1333 / sizes.max(axis=1))
    sides = np.floor(sizes * scale[:, None])
    shares = {}
    for name, upright in (("as they come", None), ("by aspect", sizes[:, 0] < sizes[:, 1])):
        padded = used = 0.0
        for keys in StepSampler(len(sizes), 16, 0, 0, 1000, upright):
            of_batch = sides[[index for index, _ in keys]]
            padded += len(keys) * np.prod(32 * np.ceil(of_batch.max(axis=0) / 32))
            used += of_batch.prod(axis=1).sum()
        shares[name] = round(padded / used, 3)
    return shares


def memory() -> dict[str, Any]:
    script = Path(__file__).with_name("loader_memory.py")
    words = ["--tiny"] if TINY else []
    runs = {}
    for name in ("detnas", "lists of dictionaries"):
        runs[name] = json.loads(subprocess.check_output([sys.executable, script, name, *words], text=True))
    return runs


def main() -> None:
    results: dict[str, Any] = {"machine": machine(), "workers": WORKERS}
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        write_images(root / "classes", IMAGES, CLASS_SIZES, CLASSES)
        results["classification, about 500 x 375"] = throughput(classification(root / "classes", root / "a", 32), 32)
        for name, count, sizes, batch in (
            ("detection, about 640 x 480", IMAGES, DETECTION_SIZES, 16),
            ("detection, 2400 x 1800", PHOTOS, PHOTO_SIZES, 2),
        ):
            folder = root / name
            write_annotations(root / f"{name}.json", write_images(folder, count, sizes, CLASSES))
            results[name] = throughput(detection(folder, root / f"{name}.json", root / f"{name} kept", batch), batch)
    sizes = np.array(PHOTO_SIZES)
    fewer = downscale_sizes(sizes, FPNSettings().min_size, FPNSettings().max_size)
    results["pixels of the latter after reduction, over all"] = round(
        int(fewer.prod(axis=1).sum()) / int(sizes.prod(axis=1).sum()), 3
    )
    results["pixels of padded batches over those of their images"] = padding()
    results["memory of all processes over 2,000 steps"] = memory()
    if TINY:
        print(json.dumps(results, indent=1))
    else:
        write_json(Path(__file__).parent / "results" / "loader.json", results)


if __name__ == "__main__":
    main()
