"""One small data set, written in any format."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from make_voc import xml_of
from PIL import Image

CATEGORIES = ("bolt", "nut", "pin")
Box = tuple[str, tuple[int, int, int, int]]
"""The category's name; x, y, width and height in whole pixels."""


@dataclass(frozen=True)
class Example:
    """An image NAME.png and its boxes."""

    name: str
    width: int
    height: int
    boxes: tuple[Box, ...]


Examples = Mapping[str, Sequence[Example]]
"""By split."""


def examples(split: str, count: int) -> list[Example]:
    """Upright and lying images with 0 to 2 boxes; the first has a box. Of `val` not every category has one."""
    names = CATEGORIES if split == "train" else CATEGORIES[1:]
    found = []
    for number in range(count):
        boxes: list[Box] = [
            (names[number % len(names)], (number % 5, 2, 10, 8)),
            (names[(number + 1) % len(names)], (8, 4 + number % 6, 12, 10)),
        ]
        width, height = ((40, 20), (20, 40))[number % 2]
        found.append(Example(f"{split}{number}", width, height, tuple(boxes[: (number + 1) % 3])))
    return found


DATA: Examples = {"train": examples("train", 10), "val": examples("val", 4)}


@dataclass(frozen=True)
class Written:
    """Where the parts of a written data set lie."""

    annotations: Mapping[str, Path]
    """By split, the file or folder that messages name."""
    first: Mapping[str, Path]
    """By split, the file that holds the boxes of its first image."""
    images: Mapping[str, Path]
    """By split, the folder of its images."""
    settings: Mapping[str, Any]
    """What a recipe says in `data` to name it; the names are relative to the data folder."""


def paint(folder: Path, images: Sequence[Example]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for image in images:
        pixels = np.zeros((image.height, image.width, 3), np.uint8)
        for category, (x, y, width, height) in image.boxes:
            pixels[y : y + height, x : x + width, CATEGORIES.index(category)] = 255
        Image.fromarray(pixels).save(folder / f"{image.name}.png")


def write_as_coco(folder: Path, data: Examples, *, usual: bool = True) -> Written:
    files, images = {}, {}
    for split, found in data.items():
        files[split] = folder / (f"{split}.json" if usual else f"mine/labels of {split}.json")
        images[split] = folder / (split if usual else f"photos/{split}")
        paint(images[split], found)
        annotations = [
            {"image_id": id, "category_id": CATEGORIES.index(name) + 1, "bbox": list(box)}
            for id, image in enumerate(found)
            for name, box in image.boxes
        ]
        tree = {
            "images": [
                {"id": id, "file_name": f"{image.name}.png", "width": image.width, "height": image.height}
                for id, image in enumerate(found)
            ],
            "annotations": annotations,
            "categories": [{"id": id, "name": name} for id, name in enumerate(CATEGORIES, start=1)],
        }
        files[split].parent.mkdir(parents=True, exist_ok=True)
        files[split].write_text(json.dumps(tree))
    settings = {split: str(file.relative_to(folder)) for split, file in files.items()}
    settings |= {f"{split}_images": str(path.relative_to(folder)) for split, path in images.items()}
    return Written(files, files, images, settings)


def write_as_yolo(folder: Path, data: Examples, *, usual: bool = True) -> Written:
    root = folder if usual else folder / "mine"
    file = root / ("data.yaml" if usual else "other.yaml")
    first, images = {}, {}
    for split, found in data.items():
        images[split] = root / "images" / split
        paint(images[split], found)
        labels = root / "labels" / split
        labels.mkdir(parents=True)
        first[split] = labels / f"{found[0].name}.txt"
        for image in found:
            lines = [
                f"{CATEGORIES.index(name)} {(x + w / 2) / image.width} {(y + h / 2) / image.height} "
                f"{w / image.width} {h / image.height}\n"
                for name, (x, y, w, h) in image.boxes
            ]
            (labels / f"{image.name}.txt").write_text("".join(lines))
        (root / f"{split}.txt").write_text("".join(f"images/{split}/{image.name}.png\n" for image in found))
    splits = "".join(f"{split}: {split}.txt\n" for split in data)
    file.write_text(f"{splits}names: {json.dumps(CATEGORIES)}\n")
    name = str(file.relative_to(folder))
    return Written(dict.fromkeys(data, file), first, images, dict.fromkeys(data, name))


def write_as_voc(folder: Path, data: Examples, *, usual: bool = True) -> Written:
    root = folder if usual else folder / "mine"
    lists, first = {}, {}
    for split, found in data.items():
        paint(root / "JPEGImages", found)
        first[split] = root / "Annotations" / f"{found[0].name}.xml"
        first[split].parent.mkdir(parents=True, exist_ok=True)
        for image in found:
            objects = [(name, (x + 1, y + 1, x + w, y + h), 0) for name, (x, y, w, h) in image.boxes]
            text = xml_of(objects, f"{image.name}.png", image.width, image.height)
            (root / "Annotations" / f"{image.name}.xml").write_text(text)
        lists[split] = root / "ImageSets" / "Main" / (f"{split}.txt" if usual else f"list of {split}.txt")
        lists[split].parent.mkdir(parents=True, exist_ok=True)
        lists[split].write_text("".join(f"{image.name}\n" for image in found))
    settings = {split: path.stem if usual else f"mine/{path.stem}" for split, path in lists.items()}
    return Written(lists, first, dict.fromkeys(data, root / "JPEGImages"), settings)


WRITERS: dict[str, Callable[..., Written]] = {"COCO": write_as_coco, "YOLO": write_as_yolo, "VOC": write_as_voc}
"""By format."""
