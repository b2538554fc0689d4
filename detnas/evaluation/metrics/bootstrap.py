"""How sure a difference between two detectors is, by which images happen to be in the data set."""

from collections.abc import Sequence
from typing import Any

import numpy as np

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
    annotations = _by_image(ground_truth["annotations"])
    trainings = [[_by_image(rows) for rows in one] for one in (first, second)]

    def difference(images: Sequence[int]) -> float:
        truth = {
            **ground_truth,
            "images": [{"id": place} for place in range(len(images))],
            "annotations": _drawn(annotations, images),
        }
        means = [np.mean([_score(truth, _drawn(rows, images), metric) for rows in one]) for one in trainings]
        return float(means[0] - means[1])

    rng = np.random.default_rng(derive_seed(0, "paired bootstrap"))
    draws_of_images = rng.integers(len(every), size=(draws, len(every))).tolist()
    values = np.array([difference([every[place] for place in row]) for row in draws_of_images])
    low, high = np.quantile(values, (0.025, 0.975)).tolist()
    certainty = float((values > 0).mean() + (values == 0).mean() / 2)
    return Estimate(difference(every), low, high), certainty


def _by_image(rows: Rows) -> dict[int, Rows]:
    found: dict[int, Rows] = {}
    for row in rows:
        found.setdefault(row["image_id"], []).append(row)
    return found


def _drawn(rows: dict[int, Rows], images: Sequence[int]) -> Rows:
    """The rows of a list of images, in which one may occur several times; each has its place as its id."""
    return [{**row, "image_id": place} for place, id in enumerate(images) for row in rows.get(id, ())]


def _score(truth: dict[str, Any], results: Rows, metric: str) -> float:
    """0 where there is nothing to find, so that it is the same for both."""
    scores = voc_scores(truth, results) if metric.startswith("VOC") else coco_scores(truth, results)[0]
    return scores[metric] or 0.0
