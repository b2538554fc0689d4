"""COCO detection files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from detnas.data.detection import Category, DetectionSet
from detnas.data.packed_paths import PackedPaths
from detnas.data.validation import find_issues, has_area, is_inside
from detnas.utils.errors import UserError


def read_coco(annotations: Path, images: Path, *, drop_bad_boxes: bool = False) -> DetectionSet:
    """Read a COCO detection file whose images lie under `images`.

    Boxes outside their image or without area are refused, or left out if `drop_bad_boxes`.
    Raises `UserError`, naming and counting the first kind of thing that is wrong.
    """
    return detection_set(load_tree(annotations), annotations, images, drop_bad_boxes=drop_bad_boxes)


def detection_set(
    tree: dict[str, Any], annotations: Path, images: Path, *, drop_bad_boxes: bool = False
) -> DetectionSet:
    """`read_coco` on a file that `load_tree` has read."""
    for issue in find_issues(tree, images):
        if issue.fatal and not (issue.about_boxes and drop_bad_boxes):
            raise UserError(f"{annotations}: {issue}")
    return _pack(tree, images)


def load_tree(path: Path) -> dict[str, Any]:
    """The JSON of a COCO file. Raises `UserError` unless it has the form of one."""
    try:
        tree: dict[str, Any] = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); name the annotations by data.train or data.val"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error}); a COCO detection file is expected") from None
    for key in ("images", "annotations", "categories"):
        if not isinstance(tree, dict) or not isinstance(tree.get(key), list):
            raise UserError(f"{path}: not COCO, it has no list {key!r}; a COCO detection file is expected")
        for place, entry in enumerate(tree[key]):
            missing = _missing(key, entry)
            if missing:
                raise UserError(f"{path}: {key}[{place}] has no valid {missing!r}; write it as COCO has it")
    return tree


def _missing(key: str, entry: Any) -> str | None:
    """The first field that an entry of list `key` lacks or that holds what it must not."""
    for field, is_valid in FIELDS[key].items():
        if not isinstance(entry, dict) or not is_valid(entry.get(field)):
            return field
    return None


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_side(value: Any) -> bool:
    return _is_integer(value) and 0 < value < 1e9


def _is_number(value: Any) -> bool:
    """Whether it is a number, and neither NaN nor beyond all images."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e12 < value < 1e12


def _is_text(value: Any) -> bool:
    """Whether it is text that can be written: JSON knows halves of characters."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))


FIELDS: dict[str, dict[str, Callable[[Any], bool]]] = {
    "images": {"id": _is_integer, "file_name": _is_text, "width": _is_side, "height": _is_side},
    "annotations": {
        "image_id": _is_integer,
        "category_id": _is_integer,
        "bbox": _is_box,
        "area": lambda value: value is None or (_is_number(value) and value >= 0),
        "iscrowd": lambda value: value in (None, 0, 1),
    },
    "categories": {"id": _is_integer, "name": _is_text},
}
"""What the entries of a COCO file's lists hold, and what is valid there."""


def _pack(tree: dict[str, Any], images: Path) -> DetectionSet:
    sizes = {image["id"]: (image["width"], image["height"]) for image in tree["images"]}
    categories = tuple(Category(c["id"], c["name"]) for c in sorted(tree["categories"], key=lambda c: int(c["id"])))
    label_of = {category.id: label for label, category in enumerate(categories)}
    of_image: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in tree["images"]}
    for annotation in tree["annotations"]:
        if has_area(annotation["bbox"]) and is_inside(annotation, sizes):
            of_image[annotation["image_id"]].append(annotation)
    rows = [annotation for annotations in of_image.values() for annotation in annotations]
    boxes = np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4)
    return DetectionSet(
        files=PackedPaths(images / image["file_name"] for image in tree["images"]),
        image_ids=tuple(of_image),
        sizes=np.array([sizes[id] for id in of_image], np.int64).reshape(-1, 2),
        boxes=boxes,
        labels=np.array([label_of[row["category_id"]] for row in rows], np.int64),
        areas=np.array([_area(row) for row in rows], np.float64),
        crowd=np.array([bool(row.get("iscrowd")) for row in rows], np.bool_),
        starts=np.cumsum([0, *map(len, of_image.values())]),
        categories=categories,
    )


def _area(annotation: dict[str, Any]) -> float:
    """The area that the file states (of a mask, where it has one), or the box's."""
    _, _, width, height = annotation["bbox"]
    area = annotation.get("area")
    return float(width * height if area is None else area)
