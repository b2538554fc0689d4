"""Annotations and detections as arrays, and which of them can meet."""

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
    """What became of the detections of one class, best first, at T thresholds of overlap."""

    images: NDArray[np.int64]
    """(D,) the image of each detection, as a place in the data set's images."""
    right: NDArray[np.bool_]
    """(T, D)"""
    counted: NDArray[np.bool_]
    """(T, D); what met a crowd or a difficult box is neither right nor wrong."""
    positives: NDArray[np.int64]
    """(N,) boxes to find in each image."""


def pairs(theirs: NDArray[np.int64], ours: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All pairs with equal keys: places in `ours` (P,), in order, and in `theirs` (P,), which is sorted."""
    starts = np.searchsorted(theirs, ours, side="left")
    counts = np.searchsorted(theirs, ours, side="right") - starts
    own = np.repeat(np.arange(len(ours)), counts)
    first = np.cumsum(counts) - counts
    return own, np.arange(len(own)) + np.repeat(starts - first, counts)
