"""VOC scores: equal to the devkit's protocol written down naively, in its inclusive whole pixels."""

import time
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detnas.evaluation.metrics.voc import voc_scores

Box = tuple[int, int, int, int]  # xmin, ymin, xmax, ymax: the pixels of both corners belong to it
Truth = tuple[int, str, Box, bool]  # image, class, box, difficult
Detection = tuple[int, str, Box, float]  # image, class, box, confidence

CLASSES = {"cat": 4, "dog": 9}


def overlap(one: Box, other: Box) -> Fraction:
    width = min(one[2], other[2]) - max(one[0], other[0]) + 1
    height = min(one[3], other[3]) - max(one[1], other[1]) + 1
    if width <= 0 or height <= 0:
        return Fraction(0)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (one, other)]
    return Fraction(width * height, sum(areas) - width * height)


def naive_curve(truth: list[Truth], detections: list[Detection], name: str) -> list[tuple[Fraction, Fraction]] | None:
    """Recall and precision after each detection of a class that is right or wrong; None without a box to find."""
    boxes = [row for row in truth if row[1] == name]
    positives = sum(not row[3] for row in boxes)
    if positives == 0:
        return None
    taken: set[int] = set()
    right = wrong = 0
    curve = []
    for image, _, box, _ in sorted((row for row in detections if row[1] == name), key=lambda row: -row[3]):
        best, best_overlap = -1, Fraction(0)
        for place, row in enumerate(boxes):
            if row[0] == image and overlap(box, row[2]) > best_overlap:
                best, best_overlap = place, overlap(box, row[2])
        if best_overlap >= Fraction(1, 2):
            if boxes[best][3]:
                continue
            if best in taken:
                wrong += 1
            else:
                taken.add(best)
                right += 1
        else:
            wrong += 1
        curve.append((Fraction(right, positives), Fraction(right, right + wrong)))
    return curve


def naive_scores(truth: list[Truth], detections: list[Detection]) -> dict[str, float | None]:
    by_points, by_area = [], []
    for name in CLASSES:
        curve = naive_curve(truth, detections, name)
        if curve is None:
            continue
        points = [max((p for r, p in curve if r >= Fraction(k, 10)), default=Fraction(0)) for k in range(11)]
        by_points.append(sum(points) / 11)
        recalls = sorted({Fraction(0), *(r for r, _ in curve)})
        by_area.append(sum((b - a) * max(p for r, p in curve if r >= b) for a, b in pairwise(recalls)))
    if not by_points:
        return {"VOC07": None, "VOC": None}
    return {"VOC07": float(sum(by_points) / len(by_points)), "VOC": float(sum(by_area) / len(by_area))}


def box_of(box: Box) -> list[float]:
    return [box[0] - 1, box[1] - 1, box[2] - box[0] + 1, box[3] - box[1] + 1]


def scores(truth: list[Truth], detections: list[Detection]) -> dict[str, float | None]:
    tree = {
        "images": [{"id": image} for image in range(10)],
        "annotations": [
            {"image_id": image, "category_id": CLASSES[name], "bbox": box_of(box), "iscrowd": int(difficult)}
            for image, name, box, difficult in truth
        ],
        "categories": [{"id": id, "name": name} for name, id in CLASSES.items()],
    }
    results = [
        {"image_id": image, "category_id": CLASSES[name], "bbox": box_of(box), "score": confidence}
        for image, name, box, confidence in detections
    ]
    return voc_scores(tree, results)


# Few places, sizes and scores: boxes that coincide, overlaps of exactly a half, and ties are common.
boxes = st.builds(
    lambda x, y, w, h: (x, y, x + w, y + h), st.integers(1, 4), st.integers(1, 3), st.integers(0, 5), st.integers(0, 3)
)
truths = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(sorted(CLASSES)), boxes, st.booleans()), max_size=12)
found = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(sorted(CLASSES)), boxes, st.sampled_from([0.1, 0.5, 0.9])),
    max_size=25,
)


@settings(max_examples=400, deadline=None)
@given(truths, found)
def test_scores_are_those_of_the_protocol(truth: list[Truth], detections: list[Detection]) -> None:
    assert scores(truth, detections) == pytest.approx(naive_scores(truth, detections), abs=1e-12)


def test_scores_on_many_objects_are_those_of_the_protocol() -> None:
    """Long curves, whose recall hits the 11 points exactly."""
    rng = np.random.default_rng(0)
    for positives in (10, 30, 57):
        truth: list[Truth] = []
        detections: list[Detection] = []
        for number in range(positives + 20):
            x, y = (int(v) for v in rng.integers(1, 300, 2))
            box = (x, y, x + int(rng.integers(5, 80)), y + int(rng.integers(5, 80)))
            truth.append((int(rng.integers(10)), "dog", box, number >= positives))
            for _ in range(rng.integers(0, 3)):
                moved = [value + int(shift) for value, shift in zip(box, rng.integers(-6, 7, 4), strict=True)]
                corners = (moved[0], moved[1], max(moved[0], moved[2]), max(moved[1], moved[3]))
                detections.append((truth[-1][0], "dog", corners, round(float(rng.random()), 2)))
        got = scores(truth, detections)
        assert got == pytest.approx(naive_scores(truth, detections), abs=1e-12)
        assert 0.2 < got["VOC"] < 0.98 and got["VOC"] != got["VOC07"]  # or this compares nothing


BOX: Box = (10, 10, 29, 29)
TWICE: Box = (10, 10, 29, 49)  # half of it is BOX
OVER_TWICE: Box = (10, 10, 29, 50)


def test_what_is_difficult_is_neither_rewarded_nor_punished() -> None:
    truth: list[Truth] = [(1, "cat", BOX, False), (2, "cat", BOX, True)]
    best: list[Detection] = [(2, "cat", BOX, 0.9), (2, "cat", BOX, 0.8), (1, "cat", BOX, 0.7)]
    assert scores(truth, best) == {"VOC07": pytest.approx(1), "VOC": pytest.approx(1)}
    # A part of a difficult object is no such detection, though COCO's crowds would swallow it.
    part: list[Detection] = [(2, "cat", (10, 10, 20, 20), 0.9), (1, "cat", BOX, 0.7)]
    assert scores(truth, part) == {"VOC07": pytest.approx(0.5), "VOC": pytest.approx(0.5)}
    assert scores([(2, "cat", BOX, True)], best) == {"VOC07": None, "VOC": None}


def test_a_class_without_a_box_to_find_does_not_count() -> None:
    assert scores([(1, "cat", BOX, False)], [(1, "cat", BOX, 0.5), (1, "dog", BOX, 0.9)])["VOC"] == pytest.approx(1)
    assert scores([(1, "cat", BOX, False)], []) == {"VOC07": 0, "VOC": 0}
    assert scores([], [(1, "cat", BOX, 0.5)]) == {"VOC07": None, "VOC": None}


def test_an_overlap_of_exactly_a_half_is_enough() -> None:
    assert scores([(1, "cat", BOX, False)], [(1, "cat", TWICE, 0.5)])["VOC"] == pytest.approx(1)
    assert scores([(1, "cat", BOX, False)], [(1, "cat", OVER_TWICE, 0.5)])["VOC"] == 0


def test_a_second_detection_of_a_box_is_wrong_even_if_another_box_is_free() -> None:
    truth: list[Truth] = [(1, "cat", (1, 1, 20, 20), False), (1, "cat", (1, 1, 20, 30), False)]
    twice: list[Detection] = [(1, "cat", (1, 1, 20, 20), 0.9), (1, "cat", (1, 1, 20, 21), 0.8)]
    assert scores(truth, twice)["VOC"] == pytest.approx(0.5)


def test_eleven_points_and_area_by_hand() -> None:
    """Right, wrong, right on two of four boxes: precision 1, 1/2, 2/3 at recall 1/4, 1/4, 1/2."""
    truth: list[Truth] = [(image, "cat", BOX, False) for image in range(4)]
    detections: list[Detection] = [(0, "cat", BOX, 0.9), (5, "cat", BOX, 0.8), (1, "cat", BOX, 0.7)]
    assert scores(truth, detections) == {
        "VOC07": pytest.approx((3 * 1 + 3 * 2 / 3) / 11),
        "VOC": pytest.approx(1 / 4 + 2 / 3 / 4),
    }


def test_detections_that_cannot_be_are_refused() -> None:
    truth: list[Truth] = [(1, "cat", BOX, False)]
    with pytest.raises(ValueError, match="unknown image"):
        scores(truth, [(77, "cat", BOX, 0.5)])
    with pytest.raises(ValueError, match="not finite"):
        scores(truth, [(1, "cat", BOX, float("nan"))])


@pytest.mark.slow
def test_the_size_of_voc_takes_seconds() -> None:
    """5,000 images, 100 detections on each, 20 classes."""
    rng = np.random.default_rng(0)
    tree: dict[str, Any] = {"images": [{"id": image} for image in range(5000)]}
    tree["categories"] = [{"id": id, "name": str(id)} for id in range(20)]
    tree["annotations"] = [
        {"image_id": image, "category_id": int(category), "bbox": [*map(float, corner), 90.0, 80.0]}
        for image in range(5000)
        for category, corner in zip(rng.integers(20, size=3), rng.integers(400, size=(3, 2)), strict=True)
    ]
    corners, classes, confidences = (
        rng.integers(400, size=(500_000, 2)),
        rng.integers(20, size=500_000),
        rng.random(500_000),
    )
    results = [
        {"image_id": place // 100, "category_id": category, "bbox": [*corner, 90, 80], "score": score}
        for place, (category, corner, score) in enumerate(
            zip(classes.tolist(), corners.tolist(), confidences.tolist(), strict=True)
        )
    ]
    began = time.process_time()
    got = voc_scores(tree, results)
    assert time.process_time() - began < 15 and got["VOC"] > 0
