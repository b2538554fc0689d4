"""Small data sets on the disk."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detnas.data.detection import DetectionSet
from detnas.data.formats.base import Source
from detnas.data.formats.coco.read import load_coco
from detnas.data.formats.registry import FORMATS
from detnas.data.packing import pack
from detnas.data.splits import validate
from detnas.data.validation import BadBoxes

COLORS = {1: (255, 0, 0), 2: (0, 255, 0), 3: (0, 0, 255)}
"""What the objects of each category id are painted with, on black."""


def painted(width: int, height: int, boxes: list[tuple[int, list[float]]]) -> np.ndarray:
    """A black image with its boxes (category id; x, y, width, height) filled in their category's color."""
    image = np.zeros((height, width, 3), np.uint8)
    for category, (x, y, w, h) in boxes:
        image[round(y) : round(y + h), round(x) : round(x + w)] = COLORS.get(category, (255, 255, 255))
    return image


def tree_of(
    images: list[tuple[int, int, list[tuple[int, list[float]]]]], categories: tuple[int, ...] = (1, 2, 3)
) -> dict[str, Any]:
    """A COCO tree from images (width, height, boxes); image ids are 10, 20, …, files 10.png, …"""
    return {
        "images": [
            {"id": 10 * place, "file_name": f"{10 * place}.png", "width": width, "height": height}
            for place, (width, height, _) in enumerate(images, start=1)
        ],
        "annotations": [
            {"id": 1000 * place + row, "image_id": 10 * place, "category_id": category, "bbox": box}
            for place, (_, _, boxes) in enumerate(images, start=1)
            for row, (category, box) in enumerate(boxes)
        ],
        "categories": [{"id": id, "name": f"class {id}"} for id in categories],
    }


def write_images(folder: Path, tree: dict[str, Any]) -> None:
    """Paint the images of `tree`."""
    for image in tree["images"]:
        boxes = [(a["category_id"], a["bbox"]) for a in tree["annotations"] if a["image_id"] == image["id"]]
        file = folder / image["file_name"]
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(painted(image["width"], image["height"], boxes)).save(file)


def write_coco(annotations: Path, images: Path, tree: dict[str, Any]) -> None:
    annotations.parent.mkdir(parents=True, exist_ok=True)
    annotations.write_text(json.dumps(tree))
    write_images(images, tree)


def read_coco(annotations: Path, images: Path, bad_boxes: BadBoxes = "refuse") -> DetectionSet:
    tree = load_coco(annotations)
    validate(Source(FORMATS["COCO"], annotations, images, tree), bad_boxes)
    return pack(tree, images, bad_boxes)


def some_images(count: int, size: int = 24) -> list[tuple[int, int, list[tuple[int, list[float]]]]]:
    """Images with one or two boxes, each different."""
    images = []
    for place in range(count):
        boxes = [(place % 3 + 1, [place % 5, 2, 10, 8]), (place % 2 + 1, [12, 12, 6, 4 + place % 6])]
        images.append((size, size, boxes[: 1 + place % 2]))
    return images
