"""python forked.py prints what a forked process copies while it reads 20,000 images' paths and boxes: bytes.

First of a data set's packed paths, then of a list of `Path`. In a process of its own, for in one that has loaded much
Python copies its own tables.
"""

import os
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detnas.data.detection import Category, DetectionSet
from detnas.data.packed_paths import PackedPaths

IMAGES = 40_000


def large_set() -> DetectionSet:
    boxes = np.tile(np.array([4.0, 4.0, 20.0, 20.0]), (2 * IMAGES, 1))
    return DetectionSet(
        files=PackedPaths(f"/data/train/{number:012d}.jpg" for number in range(IMAGES)),
        image_ids=tuple(range(IMAGES)),
        sizes=np.tile(np.array([640, 480]), (IMAGES, 1)),
        boxes=boxes,
        labels=np.zeros(len(boxes), np.int64),
        areas=np.full(len(boxes), 400.0),
        crowd=np.zeros(len(boxes), np.bool_),
        starts=2 * np.arange(IMAGES + 1),
        categories=(Category(1, "thing"),),
    )


def copied(data: DetectionSet, paths: Sequence[Path]) -> int:
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        _read(data, paths, range(IMAGES // 2))  # what Python writes to at first
        before = _private()
        _read(data, paths, range(IMAGES // 2, IMAGES))
        os.write(sending, struct.pack("q", _private() - before))
        os._exit(0)
    os.close(sending)
    with os.fdopen(receiving, "rb") as pipe:
        (grown,) = struct.unpack("q", pipe.read(8))
    os.waitpid(child, 0)
    return int(grown)


def _read(data: DetectionSet, paths: Sequence[Path], indices: range) -> None:
    for index in indices:
        str(paths[index])
        data.training_boxes(index)


def _private() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Private_Dirty", "Private_Clean")))


if __name__ == "__main__":
    large = large_set()
    print(copied(large, large.files), copied(large, list(large.files)))
