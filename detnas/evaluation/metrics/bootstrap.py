"""How sure a difference between two detectors is, by which images happen to be in the data set."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detnas.evaluation.metrics.coco import coco_scores
from detnas.evaluation.metrics.voc import voc_scores
from detnas.utils.estimate import Estimate
from detnas.utils.seeds import derive_seed

Rows = list[dict[str, Any]]
"""COCO results."""
DRAWS = 400


def paired_bootstrap(
    ground_truth: dict[str, Any], first: Sequence[Rows], second: Sequence[Rows], metric: str, draws: int = DRAWS
) -> tuple[Estimate, float]:
    """By how much the `metric` of a first detector exceeds that of a second one, with its 95 % interval by the
    percentile bootstrap over the images, and the fraction of the draws in which it is above.

    `ground_truth` is a COCO dictionary; of each detector there are the results of one or more trainings, whose scores
    are averaged. Both have the same images in a draw; half of the draws without a difference count as above.
    """
    every = [entry["id"] for entry in ground_truth["images"]]
    value = _difference(ground_truth, first, second, metric, every)
    rng = np.random.default_rng(derive_seed(0, "paired bootstrap"))
    drawn = rng.integers(len(every), size=(draws, len(every)))
    found = [
        _difference(ground_truth, first, second, metric, [every[place] for place in row]) for row in drawn.tolist()
    ]
    values: NDArray[np.float64] = np.array(found)
    low, high = np.quantile(values, (0.025, 0.975)).tolist()
    return Estimate(value, low, high), float((values > 0).mean() + (values == 0).mean() / 2)


def _difference(
    ground_truth: dict[str, Any], first: Sequence[Rows], second: Sequence[Rows], metric: str, images: Sequence[int]
) -> float:
    """Of two detectors on a list of images, in which one may occur several times."""
    truth = _resampled(ground_truth, images)
    means = [np.mean([_score(truth, _repeated(rows, images), metric) for rows in one]) for one in (first, second)]
    return float(means[0] - means[1])


def _score(truth: dict[str, Any], results: Rows, metric: str) -> float:
    """0 where there is nothing to find, so that it is the same for both."""
    scores = voc_scores(truth, results) if metric.startswith("VOC") else coco_scores(truth, results)[0]
    return scores[metric] or 0.0


def _resampled(ground_truth: dict[str, Any], images: Sequence[int]) -> dict[str, Any]:
    """The images in this order, as images of their own."""
    entries = {entry["id"]: entry for entry in ground_truth["images"]}
    return {
        **ground_truth,
        "images": [{**entries[id], "id": place} for place, id in enumerate(images, start=1)],
        "annotations": list(_repeated_rows(ground_truth["annotations"], images)),
    }


def _repeated(rows: Rows, images: Sequence[int]) -> Rows:
    return list(_repeated_rows(rows, images))


def _repeated_rows(rows: Rows, images: Sequence[int]) -> Iterator[dict[str, Any]]:
    """The rows of each of `images`, with its place from 1 as its id."""
    of_image: dict[int, Rows] = {}
    for row in rows:
        of_image.setdefault(row["image_id"], []).append(row)
    for place, id in enumerate(images, start=1):
        for row in of_image.get(id, ()):
            yield {**row, "image_id": place}
