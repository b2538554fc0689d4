"""Throughput of data loading beside plain torchvision's, and the memory that it takes (benchmarks/loader_memory.py).

JPEG files of COCO's and ImageNet's size, and of a camera's, are loaded with the same random augmentations and the same
number of workers. All loaders take turns in several rounds; each starts again, and its first batch, which waits for the
workers to start, is not counted.
"""

import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import typer
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import CocoDetection, ImageFolder, wrap_dataset_for_transforms_v2
from torchvision.transforms import v2

from benchmarks.command import ROOT, Tiny, save
from detnas.config import FPNSettings, Preprocessing, TrainingSettings
from detnas.data.batches import count_loader_processes, generate_keys, iterate_batches
from detnas.data.classification import read_image_folder
from detnas.data.disk_cache import DiskCache
from detnas.data.formats.coco.read import load_coco
from detnas.data.images import Images, downscale_sizes
from detnas.data.packing import pack
from detnas.data.samples import ClassSamples, DetectionSamples
from detnas.data.synthetic import CLASS_SIZES, DETECTION_SIZES, QUALITY, make_noise_jpeg
from detnas.training.tasks import ClassificationTask, DetectionTask

PHOTO_SIZES = ((2400, 1800), (1800, 2400))
CLASSES, CATEGORIES, BOXES = 10, 80, 7
WORKERS = count_loader_processes(2)
CACHE_MB = 10_000
"""More than all images take."""
Loader = Callable[[int, int], Iterable[Any]]
"""Gives the batches of a round, by its number and how many batches it has."""


def write_images(folder: Path, count: int, sizes: tuple[tuple[int, int], ...], classes: int) -> list[dict[str, Any]]:
    """Write different JPEG files into `classes` folders, and return their entries in a COCO file."""
    rng = np.random.default_rng(0)
    side = 2 * max(max(size) for size in sizes)
    ground = Image.open(io.BytesIO(make_noise_jpeg(rng, min(side, 4000), min(side, 4000))))
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


def classification(folder: Path, cache: Path, batch_size: int) -> dict[str, Loader]:
    settings = TrainingSettings(steps=10, batch_size=batch_size, lr=0.1, color_jitter=0.4)
    crop = v2.RandomResizedCrop(224, scale=(0.08, 1.0), antialias=True)
    jitter = v2.ColorJitter(*[settings.color_jitter] * 3)
    augment = v2.Compose([v2.PILToTensor(), crop, jitter, v2.RandomHorizontalFlip(settings.flip)])
    files, labels, _ = read_image_folder(folder)

    def ours(cache_mb: int, disk: DiskCache | None) -> ClassificationTask:
        samples = ClassSamples(Images(files, cache_mb, disk=disk), labels, 224, 0.08, settings)
        return ClassificationTask(samples, 0.1, Preprocessing())

    return compared(plain(ImageFolder(str(folder), augment), None, batch_size), ours, cache, batch_size)


def detection(folder: Path, annotations: Path, cache: Path, batch_size: int) -> dict[str, Loader]:
    settings = TrainingSettings(steps=10, batch_size=batch_size, lr=0.1)
    augment = v2.Compose([v2.ToImage(), v2.RandomHorizontalFlip(settings.flip)])
    data = pack(load_coco(annotations), folder)
    reference = wrap_dataset_for_transforms_v2(
        CocoDetection(str(folder), str(annotations), transforms=augment), target_keys=("boxes", "labels")
    )

    def ours(cache_mb: int, disk: DiskCache | None) -> DetectionTask:
        samples = DetectionSamples(data, settings, cache_mb, detector=FPNSettings(), disk=disk, group_by_aspect=True)
        return DetectionTask(samples)

    torchvision = plain(reference, lambda samples: tuple(zip(*samples, strict=True)), batch_size)
    return compared(torchvision, ours, cache, batch_size)


def compared(
    torchvision: Loader, ours: Callable[[int, DiskCache | None], Any], cache: Path, batch_size: int
) -> dict[str, Loader]:
    """The loaders by name; `ours` builds the task for the megabytes of a cache in memory and one on disk."""
    tasks = {"none": ours(0, None), "disk": ours(0, DiskCache(cache, CACHE_MB)), "memory": ours(CACHE_MB, None)}
    return {"torchvision": torchvision, **{name: of_task(task, batch_size) for name, task in tasks.items()}}


def plain(dataset: Any, collate: Callable[[Any], Any] | None, batch_size: int) -> Loader:
    def load(number: int, count: int) -> Iterable[Any]:
        rng = np.random.default_rng(0)
        epochs = [rng.permutation(len(dataset)) for _ in range(1 + count * batch_size // len(dataset))]
        chosen = np.concatenate(epochs)[: count * batch_size].reshape(-1, batch_size).tolist()
        return DataLoader(dataset, batch_sampler=chosen, num_workers=WORKERS, collate_fn=collate)

    return load


def of_task(task: Any, batch_size: int) -> Loader:
    def load(number: int, count: int) -> Iterable[Any]:
        start, stop = number * count, (number + 1) * count
        return iterate_batches(
            task.samples, task.collate, batch_size=batch_size, seed=0, start=start, stop=stop, workers=WORKERS
        )

    return load


def throughput(loaders: dict[str, Loader], batch_size: int, rounds: int, count: int) -> dict[str, Any]:
    """Images a second, and how many times torchvision's: medians over the rounds of `count` batches."""
    rates: dict[str, list[float]] = {name: [] for name in loaders}
    for _ in loaders["disk"](0, count):  # fills the cache, which is measured full
        pass
    for number in range(rounds):
        for name, load in loaders.items():
            first = last = 0.0
            for _ in load(number, count):
                last = time.perf_counter()
                first = first or last
            rates[name].append((count - 1) * batch_size / (last - first))
    found = {}
    for name, own in rates.items():
        times = [one / other for one, other in zip(own, rates["torchvision"], strict=True)]
        found[name] = {"images a second": round(median(own), 1), "times torchvision": round(median(times), 2)}
    return found


def padding() -> dict[str, float]:
    """Pixels of padded batches over those of their images, for COCO's sizes and the paper's detector."""
    sizes = np.array([DETECTION_SIZES[number % len(DETECTION_SIZES)] for number in range(3000)])
    scale = np.minimum(800 / sizes.min(axis=1), 1333 / sizes.max(axis=1))
    sides = np.floor(sizes * scale[:, None])
    shares = {}
    for name, upright in (("as they come", None), ("by aspect", sizes[:, 0] < sizes[:, 1])):
        padded = used = 0.0
        for keys in generate_keys(len(sizes), 16, 0, 0, 1000, upright):
            of_batch = sides[[index for index, _ in keys]]
            padded += len(keys) * np.prod(32 * np.ceil(of_batch.max(axis=0) / 32))
            used += of_batch.prod(axis=1).sum()
        shares[name] = round(padded / used, 3)
    return shares


def memory(tiny: bool) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.loader_memory", *(["--tiny"] if tiny else [])]
    return {
        name: json.loads(subprocess.check_output([*command, name], text=True, cwd=ROOT))
        for name in ("detnas", "lists of dictionaries")
    }


def main(tiny: Tiny = False) -> None:
    """Measure data loading; write benchmarks/results/loader.json. Takes about three minutes on two cores."""
    images, photos, rounds, count = (24, 8, 1, 4) if tiny else (300, 48, 5, 20)
    results: dict[str, Any] = {"workers": WORKERS}
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        write_images(root / "classes", images, CLASS_SIZES, CLASSES)
        loaders = classification(root / "classes", root / "a", 32)
        results["classification, about 500 x 375"] = throughput(loaders, 32, rounds, count)
        for name, number, sizes, batch_size in (
            ("detection, about 640 x 480", images, DETECTION_SIZES, 16),
            ("detection, 2400 x 1800", photos, PHOTO_SIZES, 2),
        ):
            folder, annotations = root / name, root / f"{name}.json"
            write_annotations(annotations, write_images(folder, number, sizes, CLASSES))
            loaders = detection(folder, annotations, root / f"{name} kept", batch_size)
            results[name] = throughput(loaders, batch_size, rounds, count)
    photo_sizes = np.array(PHOTO_SIZES)
    fewer = downscale_sizes(photo_sizes, FPNSettings().min_size, FPNSettings().max_size)
    reduced, whole = (int(sizes.prod(axis=1).sum()) for sizes in (fewer, photo_sizes))
    results["pixels of the latter after reduction, over all"] = round(reduced / whole, 3)
    results["pixels of padded batches over those of their images"] = padding()
    results["memory of all processes over 2,000 steps"] = memory(tiny)
    save("loader", results, tiny)


if __name__ == "__main__":
    typer.run(main)
