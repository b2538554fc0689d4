"""Which detections are right, by COCO's rule."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detnas.evaluation.metrics.boxes import Boxes, Outcomes, pairs

MOST = 100
"""Detections that count, of a class in a picture."""


def coco_outcomes(
    ground_truth: dict[str, Any], detections: list[dict[str, Any]], thresholds: Sequence[float]
) -> list[Outcomes]:
    """The outcomes of each category, at overlaps (IoU) in 0-1, as pycocotools finds them for objects of all sizes.

    Best first, each detection takes the free box of its picture and class that it overlaps most, the later of equals;
    if it reaches none, but a crowd, it does not count. Equal scores stand in the order of the image ids, then as given.
    """
    order = np.argsort([image["id"] for image in ground_truth["images"]])
    images = np.array([image["id"] for image in ground_truth["images"]], np.int64)[order]
    categories = np.sort([category["id"] for category in ground_truth["categories"]])
    truth, found = Boxes(ground_truth["annotations"]), Boxes(detections)
    crowd = np.array([bool(row.get("iscrowd")) for row in ground_truth["annotations"]], np.bool_)
    scores = np.array([row["score"] for row in detections], np.float64)

    def cells(boxes: Boxes) -> NDArray[np.int64]:
        return np.searchsorted(categories, boxes.categories) * len(images) + np.searchsorted(images, boxes.images)

    theirs = np.argsort(cells(truth), kind="stable")
    ours = np.lexsort((-scores, cells(found)))
    their_cells, our_cells = cells(truth)[theirs], cells(found)[ours]
    rank = np.arange(len(ours)) - np.searchsorted(our_cells, our_cells)
    ours, our_cells, rank = (each[rank < MOST] for each in (ours, our_cells, rank))
    crowd = crowd[theirs]
    own, other = pairs(their_cells, our_cells)
    overlap = _overlaps(found.sides[ours[own]], truth.sides[theirs[other]], crowd[other])
    right, counted = _taken(rank, own, other, overlap, crowd, np.minimum(thresholds, 1 - 1e-10))
    outcomes = []
    for place in range(len(categories)):
        mine = np.flatnonzero(our_cells // len(images) == place)
        mine = mine[np.argsort(-scores[ours[mine]], kind="stable")]
        boxes = their_cells[(their_cells // len(images) == place) & ~crowd] % len(images)
        positives = np.bincount(order[boxes], minlength=len(images))
        outcomes.append(Outcomes(order[our_cells[mine] % len(images)], right[:, mine], counted[:, mine], positives))
    return outcomes


def _overlaps(ours: NDArray[np.float64], theirs: NDArray[np.float64], crowd: NDArray[np.bool_]) -> NDArray[np.float64]:
    """IoU of boxes (P, 4), x, y, width, height, pair by pair; with a crowd, the share of ours that lies in it."""
    most = np.minimum(ours[:, :2] + ours[:, 2:], theirs[:, :2] + theirs[:, 2:])
    sides = most - np.maximum(ours[:, :2], theirs[:, :2])
    common = sides.clip(0).prod(axis=1)
    own = ours[:, 2] * ours[:, 3]
    union = np.where(crowd, own, own + theirs[:, 2] * theirs[:, 3] - common)
    return np.asarray(np.divide(common, union, out=np.zeros(len(common)), where=common > 0))


def _taken(
    rank: NDArray[np.int64],
    own: NDArray[np.int64],
    other: NDArray[np.int64],
    overlap: NDArray[np.float64],
    crowd: NDArray[np.bool_],
    thresholds: NDArray[np.float64],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether each detection takes a box, and whether it counts: (T, D) each.

    `rank` (D,) is the place of each detection within its picture and class: those of one rank cannot meet. Pairs of a
    detection `own` and a box `other` (P,), by detection, have an `overlap`.
    """
    right = np.zeros((len(thresholds), len(rank)), np.bool_)
    counted = np.ones_like(right)
    taken = np.zeros((len(thresholds), len(crowd)), np.bool_)
    near = np.flatnonzero(overlap >= thresholds.min())
    near = near[np.argsort(rank[own[near]], kind="stable")]
    for turn in np.split(near, np.flatnonzero(np.diff(rank[own[near]])) + 1) if len(near) else ():
        detections, starts = np.unique(own[turn], return_index=True)
        boxes, many = other[turn], np.diff(np.append(starts, len(turn)))
        reached = overlap[turn] >= thresholds[:, None]
        free = reached & ~crowd[boxes] & ~taken[:, boxes]
        values = np.where(free, overlap[turn], -1)
        highest = np.maximum.reduceat(values, starts, axis=1)
        places = np.where(values == np.repeat(highest, many, axis=1), np.arange(len(turn)), -1)
        chosen = np.maximum.reduceat(places, starts, axis=1)
        takes = highest >= 0
        level, place = np.nonzero(takes)
        taken[level, boxes[chosen[level, place]]] = True
        right[:, detections] = takes
        in_crowd = np.logical_or.reduceat(reached & crowd[boxes], starts, axis=1)
        counted[:, detections] = takes | ~in_crowd
    return right, counted
