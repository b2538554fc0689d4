"""From a COCO dictionary, which every format is read as, to a `DetectionSet`."""

from pathlib import Path
from typing import Any

import numpy as np

from detnas.data.detection import Category, DetectionSet
from detnas.data.packed_paths import PackedPaths
from detnas.data.validation import find_issues, has_area, is_inside
from detnas.utils.errors import UserError


def pack(tree: dict[str, Any], annotations: Path, images: Path, *, drop_bad_boxes: bool = False) -> DetectionSet:
    """Validate a COCO dictionary whose images lie under `images`, and pack it into arrays.

    Boxes outside their image or without area are refused, or left out if `drop_bad_boxes`.
    Raises `UserError`, which begins with `annotations` and counts the first kind of issue.
    """
    for issue in find_issues(tree, images):
        if issue.fatal and not (issue.about_boxes and drop_bad_boxes):
            raise UserError(f"{annotations}: {issue}")
    sizes = {image["id"]: (image["width"], image["height"]) for image in tree["images"]}
    categories = tuple(Category(c["id"], c["name"]) for c in sorted(tree["categories"], key=lambda c: int(c["id"])))
    label_of = {category.id: label for label, category in enumerate(categories)}
    of_image: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in tree["images"]}
    for annotation in tree["annotations"]:
        if has_area(annotation["bbox"]) and is_inside(annotation, sizes):
            of_image[annotation["image_id"]].append(annotation)
    rows = [annotation for annotations in of_image.values() for annotation in annotations]
    boxes = np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4)
    areas = np.array([row.get("area") for row in rows], np.float64)  # of masks, where there are any; NaN for None
    return DetectionSet(
        files=PackedPaths(images / image["file_name"] for image in tree["images"]),
        image_ids=tuple(of_image),
        sizes=np.array([sizes[id] for id in of_image], np.int64).reshape(-1, 2),
        boxes=boxes,
        labels=np.array([label_of[row["category_id"]] for row in rows], np.int64),
        areas=np.where(np.isnan(areas), boxes[:, 2] * boxes[:, 3], areas),
        crowd=np.array([bool(row.get("iscrowd")) for row in rows], np.bool_),
        starts=np.cumsum([0, *map(len, of_image.values())]),
        categories=categories,
    )
