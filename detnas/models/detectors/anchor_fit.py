"""Sizes of anchors that fit the boxes of a data set.

The sizes maximize the mean, over all boxes, of the IoU with the best anchor, counted up to `ENOUGH`: beyond that a box
is matched by every detector's rule. Without that limit, as with quantiles of the boxes' sizes, the most frequent sizes
get all anchors, and boxes of rare sizes are not matched.
"""

from math import floor, log2

import numpy as np
from numpy.typing import NDArray

from detnas.config import DetectorSettings
from detnas.models.detectors.geometry import SMALLEST

ENOUGH = 0.7
"""The IoU from which the RPN of Faster R-CNN takes an anchor for a match; RetinaNet does from 0.5."""
LEAST, MOST = 4, 8
"""Bounds of the size of a level's anchors, in strides; RetinaNet's own are 4 to 6.3. Smaller objects are those of the
level before, larger ones of the next."""
STEPS = 16
"""Sizes within a factor of two that are tried."""
MOST_BOXES = 10_000
"""Boxes that are fitted; of more, as many are taken evenly."""


def fit_anchor_sizes(boxes: NDArray[np.float64], settings: DetectorSettings) -> tuple[int, ...]:
    """The size in pixels of the anchors of each pyramid level, never falling, that fits `boxes` (n, 2), widths and
    heights in pixels of resized images; at least one.

    The same boxes give the same sizes.
    """
    chosen = np.linspace(0, len(boxes) - 1, min(len(boxes), MOST_BOXES)).round().astype(int)
    boxes = np.maximum(boxes[chosen], SMALLEST)
    steps = _steps(settings)
    ious = [
        np.stack([np.minimum(ENOUGH, best_ious(boxes, 2 ** (step / STEPS), stride, settings)) for step in of_level])
        for of_level, stride in zip(steps, settings.level_strides, strict=True)
    ]
    return tuple(round(2 ** (step / STEPS)) for step in _climb(_start(boxes, steps), steps, ious))


def best_ious(boxes: NDArray[np.float64], size: float, stride: int, settings: DetectorSettings) -> NDArray[np.float64]:
    """IoU (n,) of `boxes` (n, 2), widths and heights, with the best anchor of `size` on a level of `stride`.

    The nearest anchor's center is up to half a stride from that of a box, a quarter in the mean, in each direction.
    """
    sizes = size * np.array(getattr(settings, "anchor_scales", (1.0,)))[:, None]
    roots = np.sqrt(settings.anchor_ratios)
    anchors = np.stack((sizes / roots, sizes * roots), axis=-1).reshape(-1, 1, 2)
    sides = np.minimum(np.minimum(anchors, boxes), (anchors + boxes) / 2 - stride / 4).clip(0)
    intersection = sides.prod(axis=2)
    ious = intersection / (anchors.prod(axis=2) + boxes.prod(axis=1) - intersection)
    best: NDArray[np.float64] = ious.max(axis=0)
    return best


def _steps(settings: DetectorSettings) -> list[range]:
    """The sizes that may be chosen for each level, each as the exponent of 2 ** (1 / `STEPS`).

    The finest level also takes what is smaller than its share, and the coarsest what is larger, since there is no other
    level for these.
    """
    strides = settings.level_strides
    least = [strides[0], *(LEAST * stride for stride in strides[1:])]
    most = [*(MOST * stride for stride in strides[:-1]), max(MOST * strides[-1], settings.max_size)]
    return [
        range(floor(STEPS * log2(low)), floor(STEPS * log2(high)) + 1) for low, high in zip(least, most, strict=True)
    ]


def _start(boxes: NDArray[np.float64], steps: list[range]) -> list[int]:
    """Evenly spaced quantiles of the boxes' sizes, as far as each level may have them."""
    quantiles = (np.arange(len(steps)) + 0.5) / len(steps)
    wanted = np.quantile(STEPS * np.log2(boxes).mean(axis=1), quantiles).round().astype(int).tolist()
    return [min(max(step, of_level[0]), of_level[-1]) for step, of_level in zip(wanted, steps, strict=True)]


def _climb(start: list[int], steps: list[range], ious: list[NDArray[np.float64]]) -> list[int]:
    """Choose the best size of one level after the other until none gets better. `ious`, of each level, are
    (steps, n)."""
    chosen = list(start)
    while True:
        before = list(chosen)
        for level, of_level in enumerate(steps):
            others = [ious[at][chosen[at] - steps[at][0]] for at in range(len(steps)) if at != level]
            # Rounded, so that no order of summation decides.
            means = np.maximum(ious[level], np.max(others, axis=0, initial=0)).mean(axis=1).round(9)
            low = max(of_level[0], chosen[level - 1]) if level > 0 else of_level[0]
            high = min(of_level[-1], chosen[level + 1]) if level < len(steps) - 1 else of_level[-1]
            first = of_level[0]
            best = low + int(means[low - first : high - first + 1].argmax())
            if means[best - first] > means[chosen[level] - first]:
                chosen[level] = best
        if chosen == before:
            return chosen
