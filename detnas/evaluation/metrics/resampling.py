"""Scores of detections on data sets in which each picture stands some times, all at once."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detnas.evaluation.metrics.boxes import Outcomes
from detnas.evaluation.metrics.coco import check_detections
from detnas.evaluation.metrics.matching import coco_outcomes
from detnas.evaluation.metrics.voc import voc_outcomes

THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10))
"""Of overlap, as pycocotools has them…"""
RECALLS = np.linspace(0, 1, 101)
"""…and of recall."""

Rule = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]
"""The share of the points of recall, over which a precision is averaged, that `found` boxes of `positives` reach."""


def resampled_scores(
    ground_truth: dict[str, Any], detections: list[dict[str, Any]], metric: str, times: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The score `metric` (mAP, AP50, VOC07 or VOC) of `detections` on each of S data sets: (S,), NaN without any box.

    In data set s the i-th of the images of `ground_truth` stands `times[s, i]` times: (S, N) from 0. `ground_truth` is
    a COCO dictionary, `detections` a list of COCO results on its images. Detections are matched once, whatever S is.
    Where detections of a class in one picture have equal scores, their copies follow one another.
    Raises `ValueError` on the detections that `coco_scores` refuses.
    """
    check_detections(ground_truth, detections)
    if metric in ("VOC07", "VOC"):
        outcomes, rule = voc_outcomes(ground_truth, detections), _eleven_points if metric == "VOC07" else _every_box
    else:
        thresholds = THRESHOLDS if metric == "mAP" else THRESHOLDS[:1]
        outcomes, rule = coco_outcomes(ground_truth, detections, thresholds), _hundred_and_one_points
    by_picture = np.ascontiguousarray(times.T, np.int32)
    total, classes = np.zeros(len(times)), np.zeros(len(times), np.int64)
    for each in outcomes:
        positives = times @ each.positives
        some = positives > 0
        total[some] += _average_precision(each, by_picture[:, some], positives[some], rule)
        classes += some
    return np.asarray(np.divide(total, classes, out=np.full(len(times), np.nan), where=classes > 0))


def _average_precision(
    outcomes: Outcomes, times: NDArray[np.int32], positives: NDArray[np.int64], rule: Rule
) -> NDArray[np.float64]:
    """The mean over the thresholds, (S,); `times` is (N, S), `positives` (S,) not 0."""
    seen = np.cumsum(times[outcomes.pictures], axis=0, dtype=np.int32)
    points = rule(np.arange(positives.max(initial=0) + 1)[:, None], positives)
    total = np.zeros(len(positives))
    for right, counted in zip(outcomes.right, outcomes.counted, strict=True):
        at, left_out = np.flatnonzero(right), np.flatnonzero(~counted)
        found = np.cumsum(times[outcomes.pictures[at]], axis=0, dtype=np.int32)
        judged = seen[at]
        if len(left_out):
            before = np.cumsum(times[outcomes.pictures[left_out]], axis=0, dtype=np.int32)
            place = np.searchsorted(left_out, at)
            judged[place > 0] -= before[place[place > 0] - 1]
        precision = found / np.maximum(judged, 1)
        highest = np.maximum.accumulate(precision[::-1], axis=0)[::-1]  # from there on
        reached = np.take_along_axis(points, found, axis=0)
        total += (highest * np.diff(reached, axis=0, prepend=0)).sum(axis=0)
    return total / len(outcomes.right)


def _hundred_and_one_points(found: NDArray[np.int64], positives: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.searchsorted(RECALLS, found / positives, side="right") / len(RECALLS)


def _eleven_points(found: NDArray[np.int64], positives: NDArray[np.int64]) -> NDArray[np.float64]:
    return (10 * found // positives + 1) / 11


def _every_box(found: NDArray[np.int64], positives: NDArray[np.int64]) -> NDArray[np.float64]:
    return found / positives
