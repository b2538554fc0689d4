"""Annotations and detections as arrays, and the pairs of them that lie in one image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Boxes:
    """COCO annotations or results as arrays: `images` and `categories` (B,) ids, `sides` (B, 4) x, y, width, height,
    `corners` (B, 4) x1, y1, x2, y2."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self.images = np.array([row["image_id"] for row in rows], np.int64)
        self.categories = np.array([row["category_id"] for row in rows], np.int64)
        self.sides = np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4)
        self.corners = np.hstack([self.sides[:, :2], self.sides[:, :2] + self.sides[:, 2:]])


@dataclass(frozen=True)
class Outcomes:
    """Which of the D detections of one class, by descending score, are correct at T thresholds of IoU, on N images."""

    images: NDArray[np.int64]
    """(D,) the index of each detection's image in the data set."""
    right: NDArray[np.bool_]
    """(T, D) whether a detection is correct."""
    counted: NDArray[np.bool_]
    """(T, D) whether a detection counts at all: those of crowds and difficult boxes are neither correct nor wrong."""
    positives: NDArray[np.int64]
    """(N,) the number of boxes to detect in each image."""


def pairs(theirs: NDArray[np.int64], ours: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The P pairs of equal keys, as indices (P,) into `ours`, ascending, and into `theirs`, which must be sorted."""
    starts = np.searchsorted(theirs, ours, side="left")
    counts = np.searchsorted(theirs, ours, side="right") - starts
    own = np.repeat(np.arange(len(ours)), counts)
    first = np.cumsum(counts) - counts
    return own, np.arange(len(own)) + np.repeat(starts - first, counts)
