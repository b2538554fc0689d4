"""COCO scores: equal to pycocotools, and nothing that evaluators pass over in silence."""

import contextlib
import copy
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detnas.evaluation.metrics.coco import SCORES, coco_scores
from detnas.evaluation.metrics.voc import voc_scores


def random_set(
    rng: np.random.Generator, images: int, categories: int, crowds: float
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ground truth with gaps in its ids, unsorted, with objects of all three sizes, and detections near and far."""
    image_ids = rng.permutation(1000)[:images].tolist()
    category_ids = rng.permutation(100)[:categories].tolist()
    annotations, detections = [], []
    for image in image_ids:
        for _ in range(rng.integers(0, 9)):
            side = float(rng.choice([12, 60, 150]) * rng.uniform(0.5, 1.5))
            box = [*rng.uniform(0, 300, 2).tolist(), side, side * float(rng.uniform(0.6, 1.6))]
            category = int(rng.choice(category_ids))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": category,
                    "bbox": box,
                    "area": box[2] * box[3] * float(rng.uniform(0.5, 1)),
                    "iscrowd": int(rng.random() < crowds),
                }
            )
            for _ in range(rng.integers(0, 3)):
                x, y, width, height = box
                near = rng.normal(0, 0.12, 4)
                detections.append(
                    {
                        "image_id": image,
                        "category_id": category if rng.random() < 0.85 else int(rng.choice(category_ids)),
                        "bbox": [
                            x + near[0] * width,
                            y + near[1] * height,
                            width * float(np.exp(near[2])),
                            height * float(np.exp(near[3])),
                        ],
                        # Coarse, so that there are ties.
                        "score": round(float(rng.random()), 2),
                    }
                )
    for _ in range(images):
        detections.append(
            {
                "image_id": int(rng.choice(image_ids)),
                "category_id": int(rng.choice(category_ids)),
                "bbox": [*rng.uniform(0, 300, 2).tolist(), *rng.uniform(5, 200, 2).tolist()],
                "score": round(float(rng.random()), 2),
            }
        )
    truth = {
        "images": [{"id": id, "width": 600, "height": 600, "file_name": f"{id}.png"} for id in image_ids],
        "annotations": annotations,
        "categories": [{"id": id, "name": f"class {id}"} for id in category_ids],
    }
    return truth, detections


def oracle(
    truth: dict[str, Any], detections: list[dict[str, Any]]
) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """pycocotools' twelve numbers, and AP by class name."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(truth)
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(copy.deepcopy(detections)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    names = {category["id"]: category["name"] for category in truth["categories"]}
    per_class = {}
    for place, id in enumerate(evaluation.params.catIds):
        values = evaluation.eval["precision"][:, :, place, 0, -1]
        per_class[names[id]] = float(values[values > -1].mean()) if (values > -1).any() else None
    return {
        name: None if value < 0 else float(value) for name, value in zip(SCORES, evaluation.stats, strict=True)
    }, per_class


def on_random_sets(test: Callable[..., None]) -> Callable[[], None]:
    """Run a test on what `random_set` makes."""
    sets = given(
        seed=st.integers(0, 2**32 - 1),
        images=st.integers(1, 12),
        categories=st.integers(1, 6),
        crowds=st.sampled_from([0.0, 0.2, 1.0]),
    )
    return settings(max_examples=25, deadline=None)(sets(test))


def assert_equal(ours: dict[str, float | None], theirs: dict[str, float | None]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        expected = theirs[name]
        assert (value is None) == (expected is None), name
        if value is not None:
            assert value == pytest.approx(expected, abs=1e-12), name


@on_random_sets
def test_scores_equal_those_of_pycocotools(seed: int, images: int, categories: int, crowds: float) -> None:
    truth, detections = random_set(np.random.default_rng(seed), images, categories, crowds)
    ours, theirs = coco_scores(truth, detections), oracle(truth, detections)
    assert_equal(ours[0], theirs[0])
    assert_equal(ours[1], theirs[1])


def test_all_twelve_scores_are_told_apart() -> None:
    truth, detections = random_set(np.random.default_rng(1), 40, 4, 0.1)
    scores, per_class = coco_scores(truth, detections)
    assert list(scores) == [
        "mAP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl",
    ]  # fmt: skip
    assert all(value is not None and 0 < value < 1 for value in scores.values())
    assert len(set(scores.values())) >= 11
    assert set(per_class) == {category["name"] for category in truth["categories"]}
    assert np.mean(list(per_class.values())) == pytest.approx(scores["mAP"])
    json.dumps([scores, per_class])  # plain numbers


def test_more_than_a_hundred_detections_are_cut_like_those_of_pycocotools() -> None:
    rng = np.random.default_rng(2)
    truth, _ = random_set(rng, 2, 2, 0)
    detections = [
        {
            "image_id": truth["images"][0]["id"],
            "category_id": truth["categories"][0]["id"],
            "bbox": annotation["bbox"],
            "score": float(rng.random()),
        }
        for annotation in truth["annotations"]
        for _ in range(60)
    ]
    assert len(detections) > 120
    assert_equal(coco_scores(truth, detections)[0], oracle(truth, detections)[0])


TRUTH = {
    "images": [{"id": 7, "width": 100, "height": 100, "file_name": "a.png"}],
    "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 10, 50, 40], "area": 2000, "iscrowd": 0}],
    "categories": [{"id": 9, "name": "never"}, {"id": 3, "name": "there"}],
}
FOUND = {"image_id": 7, "category_id": 3, "bbox": [10.0, 10.0, 50.0, 40.0], "score": 0.5}


def test_a_perfect_detector_scores_one_and_a_class_without_boxes_none() -> None:
    scores, per_class = coco_scores(TRUTH, [FOUND])
    assert [scores[name] for name in ("mAP", "APm", "AR1")] == pytest.approx([1, 1, 1])
    assert scores["APs"] is None and scores["ARl"] is None
    assert per_class == {"there": pytest.approx(1), "never": None}


def test_no_detection_at_all_scores_zero() -> None:
    scores, per_class = coco_scores(TRUTH, [])
    assert scores["mAP"] == scores["AP50"] == scores["AR100"] == 0
    assert scores["APs"] is None
    assert per_class == {"there": 0, "never": None}


def test_no_box_to_find_scores_nothing() -> None:
    truth = TRUTH | {"annotations": []}
    for detections in ([], [FOUND]):
        scores, per_class = coco_scores(truth, detections)
        assert set(scores.values()) == {None} and set(per_class.values()) == {None}


def test_classes_that_share_a_name_are_told_apart() -> None:
    # Exports exist whose super-category is listed under the name of its class.
    truth = TRUTH | {"categories": [{"id": 3, "name": "tree"}, {"id": 9, "name": "tree"}]}
    _, per_class = coco_scores(truth, [FOUND])
    assert per_class == {"tree (3)": pytest.approx(1), "tree (9)": None}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", ["score", 0, 1, 2, 3])
def test_numbers_that_are_not_finite_are_refused(number: float, place: str | int) -> None:
    detection = copy.deepcopy(FOUND)
    if isinstance(place, int):
        detection["bbox"][place] = number
    else:
        detection[place] = number
    with pytest.raises(ValueError, match="not finite"):
        coco_scores(TRUTH, [FOUND, detection])


@pytest.mark.parametrize("change", [{"image_id": 8}, {"category_id": 4}, {"image_id": "7"}])
def test_detections_of_what_is_unknown_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="unknown image or category"):
        coco_scores(TRUTH, [FOUND, FOUND | change])


def test_neither_truth_nor_detections_are_changed() -> None:
    truth, detections = random_set(np.random.default_rng(3), 5, 3, 0.2)
    before = copy.deepcopy((truth, detections))
    coco_scores(truth, detections)
    assert (truth, detections) == before


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    coco_scores(TRUTH, [FOUND])
    coco_scores(TRUTH, [])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("first", [-100, 2**31, 2**63 - 2, 2**64, -(2**63) - 5, 10**30, -(10**199)])
def test_any_integers_are_ids(first: int, capfd: pytest.CaptureFixture[str]) -> None:
    truth, found = random_set(np.random.default_rng(5), images=6, categories=4, crowds=0.1)
    for category, name in zip(truth["categories"], ["", "\x1b]0;a\x07", "b", "b"], strict=True):
        category["name"] = name
    moved, moved_found = json.loads(json.dumps([truth, found]))
    for row in [*moved["images"], *moved["categories"], *moved["annotations"]]:
        row["id"] += first
    for row in [*moved["annotations"], *moved_found]:
        row["image_id"] += first
        row["category_id"] += first
    before, after = (coco_scores(*case) for case in ((truth, found), (moved, moved_found)))
    assert before[0] == after[0] and list(before[1].values()) == list(after[1].values())
    assert voc_scores(truth, found) == voc_scores(moved, moved_found)
    assert capfd.readouterr() == ("", "")
