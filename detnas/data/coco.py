"""COCO detection files: what is wrong with one, and reading one."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detnas.data.detection import Category, DetectionSet
from detnas.data.paths import PackedPaths
from detnas.errors import UserError
from detnas.files import is_file

OVERHANG = 1.0
"""Boxes may reach this many pixels beyond their picture: tools round. They are cut at the border for training."""

LEAST = 0.01
"""Boxes must be this many pixels wide and high within their picture: thinner ones vanish in 32-bit floats."""


@dataclass(frozen=True)
class Finding:
    """Something found in a data set: how often, the first example, and whether training could go wrong."""

    what: str
    count: int
    example: str
    remedy: str = ""
    fatal: bool = True
    about_boxes: bool = False
    """Whether `data.bad_boxes=drop` deals with it."""

    def __str__(self) -> str:
        text = f"{self.count:,} {self.what}" + (f" (first: {self.example})" if self.example else "")
        return f"{text}; {self.remedy}" if self.remedy else text


def read_coco(annotations: Path, images: Path, *, drop_bad_boxes: bool = False) -> DetectionSet:
    """Read a COCO detection file whose pictures lie under `images`.

    Boxes outside their picture or without area are refused, or left out if `drop_bad_boxes`.
    Raises `UserError`, naming and counting the first kind of thing that is wrong.
    """
    return detection_set(load_tree(annotations), annotations, images, drop_bad_boxes=drop_bad_boxes)


def detection_set(
    tree: dict[str, Any], annotations: Path, images: Path, *, drop_bad_boxes: bool = False
) -> DetectionSet:
    """`read_coco` on a file that `load_tree` has read."""
    for finding in find_problems(tree, images):
        if finding.fatal and not (finding.about_boxes and drop_bad_boxes):
            raise UserError(f"{annotations}: {finding}")
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
    """Whether it is a number, and neither NaN nor beyond all pictures."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e12 < value < 1e12


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


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


def find_problems(tree: dict[str, Any], images: Path) -> list[Finding]:
    """All that is wrong or remarkable, the gravest first.

    An annotation that was not read from a COCO file says by `where` how it is found.
    """
    sizes = {image["id"]: (image["width"], image["height"]) for image in tree["images"]}
    categories = {category["id"] for category in tree["categories"]}
    findings = []

    def report(what: str, examples: list[str], remedy: str = "", **flags: bool) -> None:
        if examples:
            findings.append(Finding(what, len(examples), examples[0], remedy, **flags))

    if not tree["images"] or not tree["categories"]:
        key = "categories" if tree["images"] else "images"
        findings.append(Finding(key, 0, "", f"the list {key!r} is empty; there is nothing to train on"))
    elif not tree["annotations"]:
        findings.append(Finding("annotations", 0, "", "without a single box there is nothing to train on"))
    for key in ("images", "categories"):
        twice = [f"id {id}" for id, times in Counter(entry["id"] for entry in tree[key]).items() if times > 1]
        report(f"ids that several {key} share", twice, "give each its own")
    report(
        f"pictures that are not under {images}",
        [image["file_name"] for image in tree["images"] if not is_file(images / image["file_name"])],
        "add them, or name their folder by data.train_images or data.val_images",
    )
    report(
        "annotations of images that are not listed",
        [f"image_id {a['image_id']}" for a in tree["annotations"] if a["image_id"] not in sizes],
        "list the image, or remove them",
    )
    report(
        "annotations whose category_id no category defines",
        [f"category_id {a['category_id']}" for a in tree["annotations"] if a["category_id"] not in categories],
        f"define it in categories (defined: {_shortened(sorted(categories))})",
    )
    remedy = "mend them, or set data.bad_boxes=drop to leave them out"
    flat = [a for a in tree["annotations"] if not _has_area(a["bbox"])]
    report("boxes without area", [_name(a) for a in flat], remedy, about_boxes=True)
    outside = [
        a for a in tree["annotations"] if _has_area(a["bbox"]) and a["image_id"] in sizes and not _inside(a, sizes)
    ]
    report("boxes outside their picture", [_name(a, sizes) for a in outside], remedy, about_boxes=True)
    bare = sizes.keys() - {a["image_id"] for a in tree["annotations"]}
    examples = [f"{i['file_name']}, image id {i['id']}" for i in tree["images"] if i["id"] in bare]
    report("pictures without boxes", examples, fatal=False)
    crowds = [_name(a) for a in tree["annotations"] if a.get("iscrowd")]
    report("crowd or difficult boxes, left out of training and ignored in evaluation", crowds, fatal=False)
    return findings


def _shortened(ids: list[int]) -> str:
    return ", ".join(map(str, ids[:10])) + (", …" if len(ids) > 10 else "")


def _name(annotation: dict[str, Any], sizes: dict[int, tuple[int, int]] | None = None) -> str:
    image = annotation["image_id"]
    text = annotation.get(
        "where", f"annotation {annotation.get('id', '?')} of image {image}, bbox {annotation['bbox']}"
    )
    return f"{text} in {sizes[image][0]}x{sizes[image][1]} pixels" if sizes else text


def _has_area(box: list[float]) -> bool:
    return box[2] >= LEAST and box[3] >= LEAST


def _inside(annotation: dict[str, Any], sizes: dict[int, tuple[int, int]]) -> bool:
    x, y, width, height = annotation["bbox"]
    picture_width, picture_height = sizes[annotation["image_id"]]
    return bool(
        -OVERHANG <= x <= picture_width - LEAST
        and -OVERHANG <= y <= picture_height - LEAST
        and LEAST <= x + width <= picture_width + OVERHANG
        and LEAST <= y + height <= picture_height + OVERHANG
    )


def _pack(tree: dict[str, Any], images: Path) -> DetectionSet:
    sizes = {image["id"]: (image["width"], image["height"]) for image in tree["images"]}
    categories = tuple(Category(c["id"], c["name"]) for c in sorted(tree["categories"], key=lambda c: int(c["id"])))
    label_of = {category.id: label for label, category in enumerate(categories)}
    of_image: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in tree["images"]}
    for annotation in tree["annotations"]:
        if _has_area(annotation["bbox"]) and _inside(annotation, sizes):
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
