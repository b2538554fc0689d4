"""Synthetic images for dry runs, in which the cost of a step must be realistic but not the images' content.

The JPEG files are as large as those of COCO and ImageNet, in pixels and about in bytes, so that decoding costs as much.
"""

import io
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

from detnas.data.formats.coco.write import Box, make_coco

CATEGORIES = 80
"""As in COCO, so that the detectors' last layers are as wide."""
CLASSES = 200
"""Fewer than in ImageNet: the cost of a classifier's last layer is negligible, that of many folders is not."""
CLASSIFICATION = "classification"
"""The image folder for classification, within the folder of the data set."""
IMAGES = {"train": 96, "val": 32}
DETECTION_SIZES = ((640, 480), (640, 427), (480, 640), (640, 480), (427, 640), (612, 612))
"""Width and height of consecutive images."""
CLASS_SIZES = ((500, 375), (500, 333), (375, 500), (400, 400))
BOXES = 7
"""Boxes per image, as in COCO."""
MIN_SIDE, MAX_SIDE = 0.04, 0.7
"""Range of the boxes' sides, as fractions of the image's."""
GRAIN = ((128, 55), (32, 28), (8, 18), (1, 28))
"""The images are sums of noise: side of a cell in pixels, and amplitude."""
QUALITY = 90


def write_synthetic_data(directory: Path, *, classification: bool) -> None:
    """Write a detection data set (COCO files, JPEG) into `directory`; with `classification`, an image folder too.

    The image folder `CLASSIFICATION` has `CLASSES` classes of one image each. Images repeat but for a comment in
    the files; calls write the same data.
    """
    rng = np.random.default_rng(0)
    encoded = [make_noise_jpeg(rng, width, height) for width, height in DETECTION_SIZES]
    for split, count in IMAGES.items():
        folder = directory / split
        folder.mkdir(parents=True)
        images = {}
        for number in range(count):
            (folder / f"{number}.jpg").write_bytes(_numbered(encoded[number % len(encoded)], split, number))
            size = DETECTION_SIZES[number % len(DETECTION_SIZES)]
            images[f"{number}.jpg"] = size, _draw_boxes(rng, *size, first=number * BOXES)
        coco = make_coco(images, (f"category {number}" for number in range(1, CATEGORIES + 1)))
        (directory / f"{split}.json").write_text(json.dumps(coco))
    if classification:
        encoded = [make_noise_jpeg(rng, width, height) for width, height in CLASS_SIZES]
        for number in range(CLASSES):
            folder = directory / CLASSIFICATION / f"class {number:03d}"
            folder.mkdir(parents=True)
            (folder / "0.jpg").write_bytes(encoded[number % len(encoded)])


def make_noise_jpeg(rng: np.random.Generator, width: int, height: int) -> bytes:
    """A JPEG file of noise, with about as many bytes as a photograph."""
    canvas = torch.full((1, 3, height, width), 127.0, dtype=torch.float64)
    for cell, strength in GRAIN:
        coarse = rng.uniform(-strength, strength, (1, 3, height // cell + 1, width // cell + 1))
        canvas += interpolate(torch.from_numpy(coarse), (height, width), mode="bicubic")
    file = io.BytesIO()
    Image.fromarray(canvas[0].permute(1, 2, 0).clamp(0, 255).byte().numpy()).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _numbered(jpeg: bytes, split: str, number: int) -> bytes:
    """A JPEG file with a comment, so that files of the same image are not taken for copies of another."""
    comment = f"{split} {number}".encode()
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2) + comment + jpeg[2:]


def _draw_boxes(rng: np.random.Generator, width: int, height: int, first: int) -> list[Box]:
    """Random boxes; their labels count on from `first`."""
    boxes: list[Box] = []
    for label in range(first, first + BOXES):
        w, h = np.exp(rng.uniform(np.log(MIN_SIDE), np.log(MAX_SIDE), 2)) * (width, height)
        x, y = rng.uniform(0, 1, 2) * (width - w, height - h)
        boxes.append((label % CATEGORIES, (float(x), float(y), float(w), float(h))))
    return boxes
