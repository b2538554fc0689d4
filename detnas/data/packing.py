"""From a COCO dictionary, which every format is read as, to a `DetectionSet`."""

from pathlib import Path
from typing import Any

import numpy as np

from detnas.data.detection import Category, DetectionSet
from detnas.data.packed_paths import PackedPaths
from detnas.data.validation import BadBoxes, clip_box, has_area, image_sizes, is_inside


def pack(tree: dict[str, Any], images: Path, bad_boxes: BadBoxes = "refuse") -> DetectionSet:
    """Pack a valid COCO dictionary whose images lie under `images` into arrays.

    Boxes outside their image, which validation refuses unless `bad_boxes` says otherwise, are cut at its border if that
    is "clip". Boxes of which no area is left are left out.
    """
    sizes = image_sizes(tree)
    categories = tuple(Category(c["id"], c["name"]) for c in sorted(tree["categories"], key=lambda c: int(c["id"])))
    label_of = {category.id: label for label, category in enumerate(categories)}
    of_image: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in tree["images"]}
    for annotation in tree["annotations"]:
        is_kept = has_area(annotation["bbox"])
        if is_kept and not is_inside(annotation, sizes):
            annotation = _clipped(annotation, sizes[annotation["image_id"]])
            is_kept = bad_boxes == "clip" and has_area(annotation["bbox"])
        if is_kept:
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


def _clipped(annotation: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """An annotation cut at the border of its image. Its mask, if it has one, covers at most its box."""
    box, area = clip_box(annotation["bbox"], size), annotation.get("area")
    return {**annotation, "bbox": box, "area": None if area is None else min(area, box[2] * box[3])}
