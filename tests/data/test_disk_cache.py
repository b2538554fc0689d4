"""Decoded images on the disk: never other pixels than the file's, shared, bounded, and no need for it."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from make_coco import read_coco, some_images, tree_of, write_coco
from PIL import Image

import detnas.data.disk_cache as disk_cache
import detnas.data.images as images_module
from detnas.config import TrainingSettings
from detnas.data.batches import iterate_batches
from detnas.data.detection import DetectionSet
from detnas.data.disk_cache import DiskCache
from detnas.data.images import Images, read_image
from detnas.data.samples import DetectionSamples
from detnas.training.tasks import DetectionTask
from detnas.utils.errors import UserError

COUNT, SIDE = 24, 40
IMAGE_BLOCKS = 2
"""Of 4 KiB, that an image of 40 x 40 pixels takes."""


@pytest.fixture
def data(tmp_path: Path) -> DetectionSet:
    """Images of grain, no two alike."""
    folder = tmp_path / "data"
    write_coco(folder / "train.json", folder / "train", tree_of(some_images(COUNT, SIDE)))
    for number, file in enumerate(sorted((folder / "train").iterdir())):
        grain(number).save(file)
    return read_coco(folder / "train.json", folder / "train")


def grain(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are decoded, in this order."""
    files: list[Path] = []

    def read(path: Path, *size: Any) -> torch.Tensor:
        files.append(path)
        return read_image(path, *size)

    monkeypatch.setattr(images_module, "read_image", read)
    return files


def cached(data: DetectionSet, folder: Path, megabytes: float = 10, side: int | None = None) -> Images:
    seen = None if side is None else np.full_like(data.sizes, side)
    disk = DiskCache(folder, 1)
    disk.capacity = int(megabytes * 1e6)
    return Images(data.files, 0, data.sizes, target_sizes=seen, disk=disk)


def kept(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("??/*") if path.is_file())


def all_equal(images: Images, data: DetectionSet) -> bool:
    return all(torch.equal(images[index], read_image(data.files[index])) for index in range(len(data)))


def test_images_are_decoded_once_whoever_reads_them(data: DetectionSet, tmp_path: Path, decoded: list[Path]) -> None:
    folder = tmp_path / "images"
    first = cached(data, folder)
    assert first.disk is not None and not folder.exists()
    assert all_equal(first, data) and len(kept(folder)) == COUNT
    second = cached(data.subset(range(10)), folder)
    decoded.clear()
    assert all_equal(second, data.subset(range(10))) and all_equal(first, data) and decoded == []
    assert sum(file.stat().st_size for file in kept(folder)) == COUNT * (12 + 3 * SIDE * SIDE)


def test_it_is_not_used_where_memory_does_or_where_not_all_fit(data: DetectionSet, tmp_path: Path) -> None:
    folder, total = tmp_path / "images", COUNT * 3 * SIDE * SIDE / 1e6
    assert Images(data.files, 1, data.sizes, disk=DiskCache(folder, 1)).disk is None
    assert Images(data.files, 0, disk=DiskCache(folder, 1)).disk is not None  # whose sizes are not known
    assert cached(data, folder, total).disk is not None and cached(data, folder, total - 0.001).disk is None
    # What is kept is what counts: a sixteenth of that.
    assert cached(data, folder, total / 10, side=SIDE // 4).disk is not None


def test_no_more_is_kept_than_was_granted(data: DetectionSet, tmp_path: Path, decoded: list[Path]) -> None:
    folder = tmp_path / "images"
    granted = 7.5 * IMAGE_BLOCKS * disk_cache.BLOCK / 1e6
    for _ in range(3):
        images = cached(data, folder)
        images.disk.capacity = int(granted * 1e6)
        assert all_equal(images, data)
    assert len(kept(folder)) == 7 and (folder / DiskCache.USED).stat().st_size == 7 * IMAGE_BLOCKS
    decoded.clear()
    assert all_equal(images, data) and len(decoded) == COUNT - 7


def test_a_changed_image_is_decoded_again(data: DetectionSet, tmp_path: Path) -> None:
    images = cached(data, tmp_path / "images")
    assert all_equal(images, data)
    one, other = data.files[3], data.files[4]
    before = one.stat()
    content = one.read_bytes()
    shutil.copy(other, one)  # a file of another image, with the times of this one
    os.utime(one, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert all_equal(images, data) and torch.equal(images[3], images[4])
    one.write_bytes(content)
    assert all_equal(images, data)


@pytest.mark.parametrize("left", [b"", b"123", b"half", b"more"])
def test_a_torn_file_is_written_again(left: bytes, data: DetectionSet, tmp_path: Path, decoded: list[Path]) -> None:
    images = cached(data, tmp_path / "images")
    assert all_equal(images, data)
    torn = kept(tmp_path / "images")[5]
    whole = torn.read_bytes()
    torn.write_bytes({b"half": whole[: len(whole) // 2], b"more": whole + b"0"}.get(left, left))
    decoded.clear()
    assert all_equal(images, data) and len(decoded) == 1 and torn.read_bytes() == whole


@pytest.mark.parametrize("place", [0, 5, 9, 12, 2000, -1])
def test_a_file_with_a_flipped_bit_is_written_again(
    place: int, data: DetectionSet, tmp_path: Path, decoded: list[Path]
) -> None:
    images = cached(data, tmp_path / "images")
    assert all_equal(images, data)
    damaged = kept(tmp_path / "images")[5]
    whole = damaged.read_bytes()
    content = bytearray(whole)
    content[place] ^= 4
    damaged.write_bytes(content)
    decoded.clear()
    assert all_equal(images, data) and len(decoded) == 1 and damaged.read_bytes() == whole


def test_sizes_are_kept_apart_and_wrong_ones_still_refused(data: DetectionSet, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    whole, small = cached(data, folder), cached(data, folder, side=20)
    assert all_equal(whole, data)
    assert all(small[index].shape == (3, 20, 20) for index in range(COUNT))
    assert all_equal(whole, data) and len(kept(folder)) == 2 * COUNT
    data.sizes[23] = (20, 20)
    with pytest.raises(UserError, match="the image has 40x40 pixels, but the annotations say 20x20"):
        cached(data, folder, side=20)[23]


def test_what_cannot_be_read_is_refused_as_without(data: DetectionSet, tmp_path: Path) -> None:
    images = cached(data, tmp_path / "images")
    data.files[1].write_bytes(b"no image")
    data.files[2].unlink()
    for index in (1, 2):
        with pytest.raises(UserError, match=rf"{data.files[index].name}: this image cannot be decoded"):
            images[index]


def test_a_full_disk_stops_nothing(data: DetectionSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[Path] = []

    def fail(path: Path, write: object) -> None:
        attempts.append(path)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk_cache, "write_file", fail)
    assert all_equal(cached(data, tmp_path / "images"), data) and len(attempts) == 1


def test_a_folder_that_is_removed_meanwhile_stops_nothing(data: DetectionSet, tmp_path: Path) -> None:
    images = cached(data, tmp_path / "images")
    assert all_equal(images, data)
    shutil.rmtree(tmp_path / "images")
    assert all_equal(images, data)


def test_batches_are_the_same_with_every_cache_and_number_of_workers(data: DetectionSet, tmp_path: Path) -> None:
    settings = TrainingSettings(steps=10, batch_size=3, lr=0.1, color_jitter=0.2)

    def stream(workers: int, cache_mb: int, disk: DiskCache | None) -> list[list[bytes]]:
        task = DetectionTask(DetectionSamples(data, settings, cache_mb, disk=disk))
        found = iterate_batches(task.samples, task.collate, batch_size=3, seed=0, start=0, stop=10, workers=workers)
        return [[part.numpy().tobytes() for part in (one.pixels, one.boxes, one.labels)] for one in found]

    expected = stream(0, 0, None)
    for workers in (0, 2):
        for _ in range(2):  # empty, then full
            assert stream(workers, 0, DiskCache(tmp_path / f"images{workers}", 10)) == expected
        assert stream(workers, 10, None) == expected
        assert len(kept(tmp_path / f"images{workers}")) == COUNT
