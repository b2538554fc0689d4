"""Resampled scores: those of pycocotools, and of our own VOC scores, on data sets that really repeat their pictures."""

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_coco_scores import on_random_sets, oracle, random_set

from detnas.evaluation.metrics.resampling import resampled_scores
from detnas.evaluation.metrics.voc import voc_scores


def repeated(
    truth: dict[str, Any], detections: list[dict[str, Any]], times: list[int]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The data set in which each picture stands so many times, copies beside one another in the order of the ids."""
    copies = {
        image["id"]: [1000 * image["id"] + copy for copy in range(many)]
        for image, many in zip(truth["images"], times, strict=True)
    }
    images = [image | {"id": id} for image in truth["images"] for id in copies[image["id"]]]
    annotations = [row | {"image_id": id} for row in truth["annotations"] for id in copies[row["image_id"]]]
    annotations = [row | {"id": place} for place, row in enumerate(annotations, start=1)]
    found = [row | {"image_id": id} for row in detections for id in copies[row["image_id"]]]
    return truth | {"images": images, "annotations": annotations}, found


def without_ties(detections: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Within a picture; between pictures they stay."""
    seen: set[tuple[int, float]] = set()
    kept = []
    for row in detections:
        score = row["score"]
        while (row["image_id"], score) in seen:
            score = round(score + 0.01, 2)
        seen.add((row["image_id"], score))
        kept.append(row | {"score": score})
    return kept


def expected(truth: dict[str, Any], detections: list[dict[str, Any]], metric: str) -> float:
    """NaN where there is no box."""
    if not truth["images"]:
        return float("nan")
    if not detections and not metric.startswith("VOC"):  # which pycocotools cannot read
        return 0.0 if any(not row["iscrowd"] for row in truth["annotations"]) else float("nan")
    scores = voc_scores(truth, detections) if metric.startswith("VOC") else oracle(truth, detections)[0]
    value = scores[metric]
    return float("nan") if value is None else value


@on_random_sets
def test_each_picture_once_is_what_pycocotools_says(seed: int, images: int, categories: int, crowds: float) -> None:
    truth, detections = random_set(np.random.default_rng(seed), images, categories, crowds)
    for metric in ("mAP", "AP50"):
        (ours,) = resampled_scores(truth, detections, metric, np.ones((1, images), np.int64))
        assert ours == pytest.approx(expected(truth, detections, metric), abs=1e-12, nan_ok=True)


@settings(max_examples=25, deadline=None)
@given(
    data=st.data(),
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(1, 8),
    categories=st.integers(1, 4),
    crowds=st.sampled_from([0.0, 0.2]),
)
@pytest.mark.parametrize("metric", ["mAP", "AP50", "VOC07", "VOC"])
def test_scores_are_those_of_the_repeated_data_set(
    metric: str, data: st.DataObject, seed: int, images: int, categories: int, crowds: float
) -> None:
    truth, detections = random_set(np.random.default_rng(seed), images, categories, crowds)
    detections = without_ties(detections)
    times = data.draw(
        st.lists(st.lists(st.integers(0, 3), min_size=images, max_size=images), min_size=1, max_size=3), label="times"
    )
    ours = resampled_scores(truth, detections, metric, np.array(times))
    theirs = [expected(*repeated(truth, detections, each), metric) for each in times]
    assert ours == pytest.approx(theirs, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("metric", ["mAP", "AP50", "VOC07", "VOC"])
def test_many_objects(metric: str) -> None:
    """Long curves, whose recall hits the points exactly, and more detections of a picture than COCO counts."""
    rng = np.random.default_rng(2)
    truth, detections = random_set(rng, 40, 3, 0.05)
    crowded = truth["images"][0]["id"]
    detections += [
        row | {"image_id": crowded, "category_id": truth["categories"][0]["id"], "score": float(rng.random())}
        for row in detections
    ]
    detections = without_ties(detections)
    times = rng.integers(0, 4, (3, 40))
    ours = resampled_scores(truth, detections, metric, times)
    assert ours == pytest.approx(
        [expected(*repeated(truth, detections, each.tolist()), metric) for each in times], abs=1e-12
    )
    assert len(set(ours.tolist())) == 3 and (ours > 0.05).all()  # or this compares nothing


@pytest.mark.parametrize("metric", ["mAP", "VOC"])
def test_nothing_to_find_and_nothing_found(metric: str) -> None:
    truth, detections = random_set(np.random.default_rng(0), 4, 2, 0)
    nothing = truth | {"annotations": []}
    assert np.isnan(resampled_scores(nothing, detections, metric, np.ones((2, 4), np.int64))).all()
    assert np.isnan(resampled_scores(truth, detections, metric, np.zeros((1, 4), np.int64))).all()
    assert resampled_scores(truth, [], metric, np.ones((2, 4), np.int64)).tolist() == [0, 0]


def test_neither_truth_nor_detections_are_changed_and_what_cannot_be_is_refused() -> None:
    truth, detections = random_set(np.random.default_rng(3), 5, 3, 0.2)
    before = copy.deepcopy((truth, detections))
    resampled_scores(truth, detections, "mAP", np.ones((1, 5), np.int64))
    assert (truth, detections) == before
    with pytest.raises(ValueError, match="unknown image"):
        resampled_scores(truth, [detections[0] | {"image_id": 5000}], "mAP", np.ones((1, 5), np.int64))
