"""VOC average precision: the rules of the devkit's VOCevaldet, at IoU 0.5."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detnas.evaluation.metrics.boxes import Boxes, Outcomes, pairs
from detnas.evaluation.metrics.coco import check_detections

SCORES = ("VOC07", "VOC")
"""The mean over classes of AP by 11 points, as in VOC 2007, and by the area under the curve, as since VOC 2010."""

IOU = 0.5


def voc_scores(ground_truth: dict[str, Any], detections: list[dict[str, Any]]) -> dict[str, float | None]:
    """`VOC07` and `VOC`, from 0 to 1; None where there is no object. Classes without an object do not count.

    `ground_truth` is a COCO dictionary whose crowds are VOC's difficult objects, `detections` a list of COCO results on
    its images; boxes are x, y, width, height in pixels, continuous: the devkit's inclusive corners are x + 1, y + 1,
    x + width, y + height. A detection belongs to the box of its class that it overlaps most. If that overlap reaches
    0.5, the first detection by score is correct and the others are wrong; those of a difficult box are neither. Equal
    scores stay in the given order. Recall is compared with the 11 points in integers, as in floating point
    0.1 + 0.1 + 0.1 > 0.3.

    Raises `ValueError` for detections that `coco_scores` refuses.
    """
    check_detections(ground_truth, detections)
    curves = [
        (each.right[0, each.counted[0]], int(each.positives.sum()))
        for each in voc_outcomes(ground_truth, detections)
        if each.positives.any()
    ]
    if not curves:
        return dict.fromkeys(SCORES)
    means = (float(np.mean([ap(right, positives) for right, positives in curves])) for ap in (_eleven_points, _area))
    return dict(zip(SCORES, means, strict=True))


def voc_outcomes(ground_truth: dict[str, Any], detections: list[dict[str, Any]]) -> list[Outcomes]:
    """The outcomes of each category at an overlap of 0.5, by the rule of `voc_scores`."""
    truth, found = Boxes(ground_truth["annotations"]), Boxes(detections)
    difficult = np.array([bool(row.get("iscrowd")) for row in ground_truth["annotations"]], np.bool_)
    scores = np.array([row["score"] for row in detections], np.float64)
    images = np.array([image["id"] for image in ground_truth["images"]], np.int64)
    order = np.argsort(images)

    def places(of: NDArray[np.int64]) -> NDArray[np.int64]:
        return order[np.searchsorted(images[order], of)]

    outcomes = []
    for category in ground_truth["categories"]:
        theirs = np.flatnonzero(truth.categories == category["id"])
        theirs = theirs[np.argsort(truth.images[theirs], kind="stable")]
        ours = np.flatnonzero(found.categories == category["id"])
        ours = ours[np.argsort(-scores[ours], kind="stable")]
        overlapped = _overlapped(truth, theirs, found, ours)
        right, counted = _right(overlapped, difficult[theirs])
        boxes = places(truth.images[theirs[~difficult[theirs]]])
        positives = np.bincount(boxes, minlength=len(images))
        outcomes.append(Outcomes(places(found.images[ours]), right[None], counted[None], positives))
    return outcomes


def _overlapped(truth: Boxes, theirs: NDArray[np.int64], found: Boxes, ours: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each detection of `ours`, the index in `theirs` of the box it belongs to; -1 where no overlap reaches IOU.

    `theirs` must be sorted by image.
    """
    detection, box = pairs(truth.images[theirs], found.images[ours])
    iou = _iou(found.corners[ours[detection]], truth.corners[theirs[box]])
    best = np.full(len(ours), -1, np.int64)
    if len(detection):
        _, first, counts = np.unique(detection, return_index=True, return_counts=True)
        highest = np.repeat(np.maximum.reduceat(iou, first), counts)
        places = np.flatnonzero((iou == highest) & (iou >= IOU))
        rows, first = np.unique(detection[places], return_index=True)  # of equal overlaps, the first box
        best[rows] = box[places[first]]
    return best


def _iou(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """The IoU of each of P pairs of boxes (P, 4), given by corners."""
    sides = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    common = sides.clip(0).prod(axis=1)
    union = (one[:, 2:] - one[:, :2]).prod(axis=1) + (other[:, 2:] - other[:, :2]).prod(axis=1) - common
    return np.asarray(np.divide(common, union, out=np.zeros(len(common)), where=union > 0))


def _right(overlapped: NDArray[np.int64], difficult: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which detections, by descending score, are correct, and which count: those of difficult boxes do not."""
    counted = np.ones(len(overlapped), np.bool_)
    belongs = overlapped >= 0
    counted[belongs] = ~difficult[overlapped[belongs]]
    candidates = np.flatnonzero(counted & belongs)
    _, first = np.unique(overlapped[candidates], return_index=True)
    right = np.zeros(len(overlapped), np.bool_)
    right[candidates[first]] = True
    return right, counted


def _precision(right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """At each detection, the highest precision there or at any higher recall."""
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    return np.asarray(np.maximum.accumulate(precision[::-1])[::-1])


def _eleven_points(right: NDArray[np.bool_], positives: int) -> float:
    reached = np.searchsorted(10 * np.cumsum(right), np.arange(11) * positives)
    return float(np.append(_precision(right), 0.0)[reached].sum() / 11)


def _area(right: NDArray[np.bool_], positives: int) -> float:
    return float(_precision(right)[right].sum() / positives)
