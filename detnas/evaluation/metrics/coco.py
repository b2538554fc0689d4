"""COCO average precision, by hotcoco."""

import math
from collections import Counter
from typing import Any

from hotcoco import COCO, COCOeval

Scores = dict[str, float | None]
SCORES = ("mAP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""The twelve COCO numbers for boxes, in COCO's order."""


def coco_scores(ground_truth: dict[str, Any], detections: list[dict[str, Any]]) -> tuple[Scores, Scores]:
    """The twelve COCO numbers, and the AP (IoU 0.50 to 0.95) of each category by name; None where there is no object.

    `ground_truth` is a COCO dictionary, `detections` a list of COCO results on its images. Categories that share a
    name have their ids appended to it.

    Raises `ValueError` for a detection of an unknown image or category, or with a number that is not finite: COCO
    evaluators accept these without a warning.
    """
    check_detections(ground_truth, detections)
    names = {category["id"]: category["name"] for category in ground_truth["categories"]}
    numbered, found = number_ids(ground_truth, detections)
    truth = COCO(numbered)
    evaluation = COCOeval(truth, truth.load_res(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summary_lines()  # fills stats; summarize() would print
    # (IoU thresholds, recalls, categories by id, areas, detection limits): all areas, the largest limit.
    assert evaluation.eval is not None  # accumulate() fills it
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    per_class = {}
    shared = {name for name, categories in Counter(names.values()).items() if categories > 1}
    for place, (id, name) in enumerate(sorted(names.items())):
        values = precision[:, :, place]
        mean = float(values[values > -1].mean()) if (values > -1).any() else -1.0
        per_class[f"{name} ({id})" if name in shared else name] = _known(mean)
    return dict(zip(SCORES, map(_known, evaluation.stats), strict=True)), per_class


def check_detections(ground_truth: dict[str, Any], detections: list[dict[str, Any]]) -> None:
    """Raise `ValueError` for a detection of an unknown image or category, or with a number that is not finite."""
    images = {image["id"] for image in ground_truth["images"]}
    categories = {category["id"] for category in ground_truth["categories"]}
    for detection in detections:
        if detection["image_id"] not in images or detection["category_id"] not in categories:
            raise ValueError(f"detection of an unknown image or category: {detection}")
        if not all(math.isfinite(number) for number in (*detection["bbox"], detection["score"])):
            raise ValueError(f"detection with a number that is not finite: {detection}")


def number_ids(
    ground_truth: dict[str, Any], detections: list[dict[str, Any]]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Copies with image and category ids from 1, in the order of the given ids, annotation ids from 1, and no names.

    A data set may have any integers as ids; hotcoco holds them in 64 bits without a sign, and the original COCO
    evaluator takes an annotation with the id 0 for none. hotcoco also prints about names.
    """
    number = {
        key: {id: place for place, id in enumerate(sorted({entry["id"] for entry in ground_truth[key]}), start=1)}
        for key in ("images", "categories")
    }

    def numbered(row: dict[str, Any], **more: int) -> dict[str, Any]:
        image, category = number["images"][row["image_id"]], number["categories"][row["category_id"]]
        return {**row, "image_id": image, "category_id": category, **more}

    truth = {
        "images": [{"id": number["images"][entry["id"]]} for entry in ground_truth["images"]],
        "annotations": [numbered(row, id=place) for place, row in enumerate(ground_truth["annotations"], start=1)],
        "categories": [
            {"id": number["categories"][entry["id"]], "name": str(place)}
            for place, entry in enumerate(ground_truth["categories"])
        ],
    }
    return truth, [numbered(row) for row in detections]


def _known(value: float) -> float | None:
    """A number of COCO's, which is -1 where there is no object."""
    return None if value < 0 else float(value)
