"""Sizes of anchors that are fitted to boxes."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from detnas.config import DetectorSettings, FPNSettings, RetinaNetSettings
from detnas.models.detectors.anchor_fit import MOST_BOXES, best_ious, fit_anchor_sizes
from detnas.models.detectors.pyramid import build_anchors

SIDE = st.integers(0, 4000).map(lambda quarter: quarter / 4)
BOXES = st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=30).map(lambda boxes: np.array(boxes, np.float64))
STRIDES = st.sets(st.sampled_from([4, 8, 16, 32]), min_size=1).map(sorted)
SHAPES = st.lists(st.floats(0.25, 4, allow_subnormal=False), min_size=1, max_size=3)


@st.composite
def settings(draw: st.DrawFn) -> DetectorSettings:
    size = draw(st.integers(16, 1000))
    values: dict[str, Any] = {"anchor_sizes": "auto", "strides": draw(STRIDES), "anchor_ratios": draw(SHAPES)}
    values |= {"min_size": size, "max_size": draw(st.integers(size, 1500))}
    if draw(st.booleans()):
        return FPNSettings.model_validate(values)
    extra = {"extra_levels": draw(st.sampled_from([0, 2])), "anchor_scales": draw(SHAPES)}
    return RetinaNetSettings.model_validate(values | extra)


@given(BOXES, settings())
def test_a_size_for_each_level_that_never_falls_and_that_the_level_can_see(
    boxes: NDArray[np.float64], settings: DetectorSettings
) -> None:
    sizes = fit_anchor_sizes(boxes, settings)
    assert all(type(size) is int and size >= 1 for size in sizes)
    assert all(size <= next for size, next in pairwise(sizes))
    strides = settings.level_strides
    assert all(size >= stride for size, stride in zip(sizes, strides, strict=True))
    assert all(size >= 4 * stride for size, stride in zip(sizes[1:], strides[1:], strict=True))
    assert all(size <= 8 * stride for size, stride in zip(sizes[:-1], strides[:-1], strict=True))
    assert sizes[-1] <= max(8 * strides[-1], settings.max_size)
    assert sizes == fit_anchor_sizes(boxes.copy(), settings)
    numbers = settings.model_dump() | {"anchor_sizes": sizes}
    assert type(settings).model_validate(numbers).anchor_sizes == tuple(sizes)


@given(BOXES, settings().filter(lambda settings: settings.strides[-1] < 32))
def test_twice_as_large_boxes_on_twice_as_coarse_maps_get_twice_as_large_anchors(
    boxes: NDArray[np.float64], settings: DetectorSettings
) -> None:
    twice = {"strides": [2 * stride for stride in settings.strides]}
    twice |= {"min_size": 2 * settings.min_size, "max_size": 2 * settings.max_size}
    doubled = type(settings).model_validate(settings.model_dump() | twice)
    larger = fit_anchor_sizes(2 * np.maximum(boxes, 0.25), doubled)
    smaller = fit_anchor_sizes(np.maximum(boxes, 0.25), settings)
    assert all(abs(2 * size - other) <= 1 for size, other in zip(smaller, larger, strict=True))


@given(BOXES, settings(), st.randoms())
def test_the_order_of_the_boxes_does_not_matter(
    boxes: NDArray[np.float64], settings: DetectorSettings, random: Any
) -> None:
    order = random.sample(range(len(boxes)), len(boxes))
    assert fit_anchor_sizes(boxes[order], settings) == fit_anchor_sizes(boxes, settings)


@pytest.mark.parametrize("side", [0, 3, 20, 64, 250, 10_000])
@pytest.mark.parametrize("count", [1, 7])
def test_boxes_of_one_size(side: int, count: int) -> None:
    settings = RetinaNetSettings(
        min_size=256, max_size=384, extra_levels=0, anchor_sizes="auto", anchor_scales=(1.0,), anchor_ratios=(1.0,)
    )
    sizes = fit_anchor_sizes(np.full((count, 2), float(side)), settings)
    nearest = min(sizes, key=lambda size: abs(size - side))
    assert nearest == pytest.approx(min(max(side, 8), 384), rel=0.25)


def test_more_boxes_than_are_fitted() -> None:
    boxes = np.exp(np.random.default_rng(0).normal(3.5, 0.5, (5 * MOST_BOXES, 2)))
    settings = FPNSettings(min_size=256, max_size=384, anchor_sizes="auto")
    few = fit_anchor_sizes(boxes[:MOST_BOXES], settings)
    assert fit_anchor_sizes(boxes, settings) == pytest.approx(few, rel=0.2)


def test_the_iou_is_that_of_anchors_a_quarter_of_a_cell_away() -> None:
    settings = RetinaNetSettings(
        strides=(8,), extra_levels=0, anchor_sizes=(20,), anchor_scales=(0.7, 1.0), anchor_ratios=(0.5, 1.0, 3.0)
    )
    images = ImageList(torch.zeros(1, 3, 64, 64), [(64, 64)])
    (anchors,) = build_anchors(settings, settings.anchor_scales)(images, [torch.zeros(1, 1, 8, 8)])
    sides = [(20.0, 20.0), (9.0, 31.0), (6.0, 7.0), (60.0, 44.0)]
    # Anchors are centered at the corners of cells of 8 pixels; torchvision rounds their edges.
    boxes = torch.tensor([[34 - w / 2, 34 - h / 2, 34 + w / 2, 34 + h / 2] for w, h in sides])
    found = best_ious(np.array(sides), 20, 8, settings)
    assert found == pytest.approx(box_iou(boxes, anchors).max(dim=1).values.numpy(), abs=0.04)


def share_matched(settings: DetectorSettings, boxes: NDArray[np.float64], sizes: list[int]) -> float:
    levels = zip(sizes, settings.level_strides, strict=True)
    ious = np.max([best_ious(boxes, size, stride, settings) for size, stride in levels], axis=0)
    return float((ious >= 0.5).mean())


@given(st.lists(st.tuples(st.floats(3.3, 4.8), st.floats(0.05, 0.25)), min_size=1, max_size=3), st.integers(0, 2**32))
def test_the_boxes_are_matched_by_their_anchors(kinds: list[tuple[float, float]], seed: int) -> None:
    """Of objects of up to three kinds, from about 15 to 250 pixels, nearly square: 0.998 +- 0.004 in 2500 draws."""
    rng = np.random.default_rng(seed)
    logs = np.concatenate([rng.normal(mean, deviation, (100, 1)) for mean, deviation in kinds])
    boxes = np.exp(logs + rng.uniform(-0.1, 0.1, (len(logs), 2)))
    settings = FPNSettings(min_size=256, max_size=384, anchor_sizes="auto")
    assert share_matched(settings, boxes, fit_anchor_sizes(boxes, settings)) >= 0.9
