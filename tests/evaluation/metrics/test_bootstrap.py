"""The paired bootstrap, against drawing images by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from detnas.evaluation.metrics.bootstrap import paired_bootstrap
from detnas.evaluation.metrics.coco import coco_scores
from detnas.evaluation.metrics.voc import voc_scores
from detnas.utils.seeds import derive_seed

IMAGES = [7, 3, 12, 5, 40]
CATEGORIES = [{"id": 1, "name": "a"}, {"id": 4, "name": "b"}]


def boxes(seed: int) -> list[list[float]]:
    corners = np.random.default_rng(seed).uniform(0, 60, (len(IMAGES) * 3, 2))
    return [[*corner, 20.0, 16.0] for corner in corners.tolist()]


def truth() -> dict[str, Any]:
    rows = [
        {
            "id": place + 1,
            "image_id": IMAGES[place % 5],
            "category_id": 1 + 3 * (place % 2),
            "bbox": box,
            "area": 320.0,
            "iscrowd": 0,
        }
        for place, box in enumerate(boxes(0))
    ]
    return {
        "images": [{"id": id, "width": 90, "height": 90} for id in IMAGES],
        "annotations": rows,
        "categories": CATEGORIES,
    }


def found(seed: int, wrong: float) -> list[dict[str, Any]]:
    """The true boxes, a little off, of which a share is somewhere else."""
    rng = np.random.default_rng(seed)
    return [
        {
            "image_id": row["image_id"],
            "category_id": row["category_id"],
            "bbox": [row["bbox"][0] + (50 if rng.random() < wrong else rng.normal()), *row["bbox"][1:]],
            "score": float(rng.random()),
        }
        for row in truth()["annotations"]
    ]


def by_hand(
    metric: str, first: list[list[dict[str, Any]]], second: list[list[dict[str, Any]]], images: list[int]
) -> float:
    """The difference on images that are copied, each with an id of its own."""
    copies = [(id, 100 + place) for place, id in enumerate(images)]
    whole = truth()

    def copied(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**row, "image_id": new} for id, new in copies for row in rows if row["image_id"] == id]

    small = {**whole, "images": [{"id": new} for _, new in copies]}
    small["annotations"] = [{**row, "id": place} for place, row in enumerate(copied(whole["annotations"]), start=1)]
    score: Callable[[Any, Any], Any] = voc_scores if metric == "VOC07" else lambda *both: coco_scores(*both)[0]
    means = [np.mean([score(small, copied(rows))[metric] for rows in one]) for one in (first, second)]
    return float(means[0] - means[1])


@pytest.mark.parametrize("metric", ["mAP", "VOC07"])
def test_it_draws_images_for_both_and_averages_over_trainings(metric: str) -> None:
    first, second = [found(1, 0.2), found(2, 0.2)], [found(3, 0.5)]
    lead, certainty = paired_bootstrap(truth(), first, second, metric, draws=12)
    rng = np.random.default_rng(derive_seed(0, "paired bootstrap"))
    drawn = [[IMAGES[place] for place in row] for row in rng.integers(5, size=(12, 5)).tolist()]
    values = np.array([by_hand(metric, first, second, images) for images in drawn])
    assert lead.value == pytest.approx(by_hand(metric, first, second, IMAGES))
    assert (lead.low, lead.high) == pytest.approx(tuple(np.quantile(values, (0.025, 0.975))))
    assert certainty == pytest.approx((values > 0).mean() + (values == 0).mean() / 2)


def test_what_is_equal_is_not_certain_and_what_is_better_is() -> None:
    good, bad = [found(1, 0.0)], [found(1, 0.9)]
    lead, certainty = paired_bootstrap(truth(), good, good, "mAP", draws=10)
    assert (lead.value, lead.low, lead.high, certainty) == (0, 0, 0, 0.5)
    assert paired_bootstrap(truth(), good, bad, "mAP", draws=20)[1] > 0.9
    assert paired_bootstrap(truth(), bad, good, "mAP", draws=20)[1] < 0.1
    nothing: list[dict[str, Any]] = []
    assert paired_bootstrap(truth(), [nothing], [nothing], "mAP", draws=5)[1] == 0.5
