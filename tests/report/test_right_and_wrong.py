"""Which boxes are right, wrong and missed."""

from hypothesis import given
from hypothesis import strategies as st

from detnas.report.images import Box, match_boxes


def square(x: float, name: str = "cat", score: float | None = None) -> Box:
    return Box(x, 0, x + 10, 10, name, score)


def test_a_box_of_another_class_is_wrong_and_the_true_one_missed() -> None:
    found = square(0, "dog", 0.9)
    assert match_boxes([square(0)], [found]) == {"detected": [], "missed": [square(0)], "wrong": [found], "right": []}


def test_of_two_on_one_object_the_stronger_is_right() -> None:
    strong, weak = square(3, score=0.9), square(1, score=0.4)
    kinds = match_boxes([square(0)], [weak, strong])
    assert (kinds["right"], kinds["wrong"], kinds["missed"]) == ([strong], [weak], [])


def test_each_takes_the_true_box_that_it_overlaps_most() -> None:
    kinds = match_boxes([square(0), square(4)], [square(3, score=0.9)])
    assert (kinds["detected"], kinds["missed"]) == ([square(4)], [square(0)])


def test_half_of_the_union_is_enough_and_less_is_not() -> None:
    half = Box(0, 0, 10, 5, "cat", 0.9)  # IoU 0.5
    assert match_boxes([square(0)], [half])["right"] == [half]
    assert match_boxes([square(0)], [Box(0, 0, 10, 4.9, "cat", 0.9)])["right"] == []


boxes = st.lists(st.builds(square, st.integers(0, 30), st.sampled_from(["cat", "dog"]), st.floats(0.1, 1)), max_size=8)


@given(boxes, boxes)
def test_every_box_is_one_thing(truth: list[Box], predicted: list[Box]) -> None:
    kinds = match_boxes(truth, predicted)
    assert sorted(map(str, kinds["detected"] + kinds["missed"])) == sorted(map(str, truth))
    assert sorted(map(str, kinds["right"] + kinds["wrong"])) == sorted(map(str, predicted))
    assert len(kinds["detected"]) == len(kinds["right"])
