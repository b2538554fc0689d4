"""VOC average precision: the rules of the devkit's VOCevaldet, at IoU 0.5."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detnas.evaluation.metrics.coco import check_detections, number_ids

SCORES = ("VOC07", "VOC")
"""The mean over classes of AP by 11 points, as in VOC 2007, and by the area under the curve, as since VOC 2010."""

IOU = 0.5


def voc_scores(ground_truth: dict[str, Any], detections: list[dict[str, Any]]) -> dict[str, float | None]:
    """`VOC07` and `VOC`, from 0 to 1; None where there is no object. Classes without an object do not count.

    `ground_truth` is a COCO dictionary whose crowds are VOC's difficult objects, `detections` a list of COCO results on
    its images; boxes are x, y, width, height in pixels, continuous: the devkit's inclusive corners are x + 1, y + 1, x
    + width, y + height. A detection belongs to the box of its class that it overlaps most. If that overlap reaches 0.5,
    the first detection by score is correct and the others are wrong; those of a difficult box are neither. Equal scores
    stay in the given order. Recall is compared with the 11 points in integers: as floats, 0.1 + 0.1 + 0.1 > 0.3.

    Raises `ValueError` for detections that `coco_scores` refuses.
    """
    check_detections(ground_truth, detections)
    curves = _curves(*number_ids(ground_truth, detections))
    if not curves:
        return dict.fromkeys(SCORES)
    means = (float(np.mean([ap(right, positives) for right, positives in curves])) for ap in (_eleven_points, _area))
    return dict(zip(SCORES, means, strict=True))


class Boxes:
    """COCO annotations or results as arrays: `images` and `categories` (B,) ids, `corners` (B, 4) x1, y1, x2, y2."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self.images = np.array([row["image_id"] for row in rows], np.int64)
        self.categories = np.array([row["category_id"] for row in rows], np.int64)
        sides = np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4)
        self.corners = np.hstack([sides[:, :2], sides[:, :2] + sides[:, 2:]])


def _curves(ground_truth: dict[str, Any], detections: list[dict[str, Any]]) -> list[tuple[NDArray[np.bool_], int]]:
    """Of each class with an object: which detections that count are correct, by descending score, and how many boxes
    there are to detect."""
    truth, found = Boxes(ground_truth["annotations"]), Boxes(detections)
    difficult = np.array([bool(row.get("iscrowd")) for row in ground_truth["annotations"]], np.bool_)
    scores = np.array([row["score"] for row in detections], np.float64)
    curves = []
    for category in ground_truth["categories"]:
        theirs = np.flatnonzero(truth.categories == category["id"])
        theirs = theirs[np.argsort(truth.images[theirs], kind="stable")]
        positives = int((~difficult[theirs]).sum())
        if positives:
            ours = np.flatnonzero(found.categories == category["id"])
            ours = ours[np.argsort(-scores[ours], kind="stable")]
            curves.append((_right(_overlapped(truth, theirs, found, ours), difficult[theirs]), positives))
    return curves


def _overlapped(truth: Boxes, theirs: NDArray[np.int64], found: Boxes, ours: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each detection of `ours`, the index in `theirs` of the box it belongs to; -1 where no overlap reaches IOU.

    `theirs` must be sorted by image.
    """
    detection, box = _pairs(truth.images[theirs], found.images[ours])
    iou = _iou(found.corners[ours[detection]], truth.corners[theirs[box]])
    best = np.full(len(ours), -1, np.int64)
    if len(detection):
        _, first, counts = np.unique(detection, return_index=True, return_counts=True)
        highest = np.repeat(np.maximum.reduceat(iou, first), counts)
        places = np.flatnonzero((iou == highest) & (iou >= IOU))
        rows, first = np.unique(detection[places], return_index=True)  # of equal overlaps, the first box
        best[rows] = box[places[first]]
    return best


def _pairs(theirs: NDArray[np.int64], ours: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The P pairs of equal keys, as indices (P,) into `ours`, ascending, and into `theirs`, which must be sorted."""
    starts = np.searchsorted(theirs, ours, side="left")
    counts = np.searchsorted(theirs, ours, side="right") - starts
    first = np.repeat(np.arange(len(ours)), counts)
    return first, np.arange(len(first)) + np.repeat(starts - (np.cumsum(counts) - counts), counts)


def _iou(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """The IoU of each of P pairs of boxes (P, 4), given by corners."""
    sides = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    common = sides.clip(0).prod(axis=1)
    union = (one[:, 2:] - one[:, :2]).prod(axis=1) + (other[:, 2:] - other[:, :2]).prod(axis=1) - common
    return np.asarray(np.divide(common, union, out=np.zeros(len(common)), where=union > 0))


def _right(overlapped: NDArray[np.int64], difficult: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which detections, by descending score, are correct; those of difficult boxes do not count and are left out."""
    belongs = overlapped >= 0
    counted = ~belongs
    counted[belongs] = ~difficult[overlapped[belongs]]
    overlapped = overlapped[counted]
    _, first = np.unique(overlapped, return_index=True)
    right = np.zeros(len(overlapped), np.bool_)
    right[first] = True
    return right & (overlapped >= 0)


def _precision(right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """At each detection, the highest precision there or at any higher recall."""
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    return np.asarray(np.maximum.accumulate(precision[::-1])[::-1])


def _eleven_points(right: NDArray[np.bool_], positives: int) -> float:
    reached = np.searchsorted(10 * np.cumsum(right), np.arange(11) * positives)
    return float(np.append(_precision(right), 0.0)[reached].sum() / 11)


def _area(right: NDArray[np.bool_], positives: int) -> float:
    return float(_precision(right)[right].sum() / positives)
