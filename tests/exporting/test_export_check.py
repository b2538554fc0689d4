"""What the check of an export lets pass, and what not."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy_mobile
from detecting import detector, settings, write_noise
from torch import Tensor, nn

from detnas.exporting.backbones import BackboneModel
from detnas.exporting.check import Image, check_backbone, check_detector, compare
from detnas.exporting.detectors import DetectorModel
from detnas.models.backbone import find_backbone
from detnas.models.detectors.detect import Detections, detect
from detnas.models.ops.mbconv import TensorFlowConv2d
from detnas.models.weight_sources.efficientnet_lite import INPUT
from detnas.models.weights import BackboneInfo
from detnas.utils.errors import UserError

SETTINGS = settings("retinanet", score_threshold=0.1, nms_threshold=0.5, detections=4)


def found(*rows: tuple[float, ...]) -> Detections:
    """Of rows x1, y1, x2, y2, score, label."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


A, B, C = (0, 0, 10, 10, 0.9, 0), (20, 0, 30, 10, 0.8, 1), (0, 30, 10, 40, 0.7, 0)


def moved(row: tuple[float, ...], place: int, by: float) -> tuple[float, ...]:
    return (*row[:place], row[place] + by, *row[place + 1 :])


def test_the_order_does_not_matter() -> None:
    difference = compare(found(A, B, C), found(A, C, B), SETTINGS)
    assert (difference.detections, difference.pixels, difference.score, difference.lone) == (3, 0, 0, None)


def test_small_differences_are_measured() -> None:
    difference = compare(found(moved(A, 2, 0.05), moved(B, 4, 0.0005)), found(A, B), SETTINGS)
    assert difference.lone is None and difference.detections == 2
    assert difference.pixels == pytest.approx(0.05, rel=1e-3)
    assert difference.score == pytest.approx(0.0005, rel=1e-3)


@pytest.mark.parametrize("other", [moved(A, 0, 0.2), moved(A, 3, -0.2), moved(A, 4, 0.002), moved(A, 5, 1)])
def test_what_has_no_counterpart_is_found_on_either_side(other: tuple[float, ...]) -> None:
    for one, two in ((found(B, other), found(A, B)), (found(A, B), found(B)), (found(B), found(A, B))):
        assert "only one finds class" in (compare(one, two, SETTINGS).lone or "")


def test_what_scores_about_the_threshold_may_be_missing() -> None:
    assert compare(found(A, moved(B, 4, -0.6995)), found(A), SETTINGS).lone is None
    assert compare(found(A, moved(B, 4, -0.698)), found(A), SETTINGS).lone


def test_the_last_of_a_full_list_may_be_another() -> None:
    last, other = (50, 50, 60, 60, 0.6, 0), (70, 70, 80, 80, 0.6005, 0)
    assert compare(found(A, B, C, last), found(A, B, C, other), SETTINGS).lone is None
    assert compare(found(A, B, last), found(A, B, other), SETTINGS).lone


def test_rounding_may_decide_whether_a_box_is_suppressed() -> None:
    half = (0, 0, 10, 20.01, 0.5, 0)  # overlaps A by an IoU of a half, nearly
    assert compare(found(A, half), found(A), SETTINGS).lone is None
    assert compare(found(A, moved(half, 3, 1)), found(A), SETTINGS).lone
    assert compare(found(A, moved(half, 5, 1)), found(A), SETTINGS).lone  # of another class


def test_a_score_that_is_no_number_is_no_counterpart() -> None:
    assert compare(found(moved(A, 4, float("nan"))), found(A), SETTINGS).lone


@pytest.fixture(scope="module")
def eager() -> tuple[Any, Any]:
    return detector("retinanet")


@pytest.fixture
def images(tmp_path: Path) -> list[Image]:
    return [Image(file) for file in write_noise(tmp_path)]


def changed(eager: Any, change: Any, takes_batches: bool = False) -> DetectorModel:
    """The eager detector itself as a model, what it finds changed."""

    def run(images: Sequence[Tensor]) -> list[Detections]:
        return [change(one, len(images)) for one in detect(eager, images, torch.device("cpu"))]

    return DetectorModel({}, run, takes_batches)


def test_a_model_like_the_eager_one_passes(eager: tuple[Any, Any], images: list[Image]) -> None:
    line = check_detector(*eager, changed(eager[0], lambda one, count: one), images)
    assert line.startswith(f"checked on 4 images ({images[0].file}, …): ") and "within 0 pixels" in line


def test_a_model_that_differs_is_refused(eager: tuple[Any, Any], images: list[Image]) -> None:
    model = changed(eager[0], lambda one, count: replace(one, boxes=one.boxes + 0.2))
    with pytest.raises(UserError, match=r"0.png: the export differs from the eager model: only .* nothing is written"):
        check_detector(*eager, model, images)


def test_a_model_that_differs_in_batches_is_refused(eager: tuple[Any, Any], images: list[Image]) -> None:
    change = lambda one, count: replace(one, boxes=one.boxes + 0.2 * (count > 1))  # noqa: E731
    check_detector(*eager, changed(eager[0], change), images)
    with pytest.raises(UserError, match="differs from the eager model"):
        check_detector(*eager, changed(eager[0], change, takes_batches=True), images)


def test_where_nothing_is_found_nothing_is_checked(images: list[Image]) -> None:
    blind = detector("retinanet", score_threshold=0.999999)
    with pytest.raises(UserError, match=r"finds nothing on the 4 images .* by --check"):
        check_detector(*blind, changed(blind[0], lambda one, count: one), images)


@pytest.mark.parametrize("change", [lambda x: x * 1.001, lambda x: x * float("nan"), lambda x: -x])
def test_maps_that_differ_are_refused(change: Any, eager: tuple[Any, Any], images: list[Image]) -> None:
    backbone: Any = find_backbone(eager[0])

    def maps(images: Tensor) -> list[Tensor]:
        return [*backbone(images)[:3], change(backbone(images)[3])]

    assert "maps within 0 of" in check_backbone(backbone, eager[1], BackboneModel({}, backbone), images)
    with pytest.raises(UserError, match=r"the export's maps are .* off the eager model's"):
        check_backbone(backbone, eager[1], BackboneModel({}, maps), images)


def test_padding_that_is_frozen_for_even_sides_is_refused(images: list[Image]) -> None:
    info = BackboneInfo(toy_mobile.SPACE, toy_mobile.ARCHITECTURE, INPUT)
    backbone: Any = info.build().eval()
    frozen = copy.deepcopy(backbone)
    for name, layer in backbone.named_modules():
        if isinstance(layer, TensorFlowConv2d):
            side = layer.kernel_size[0] // 2
            plain = nn.Conv2d(
                layer.in_channels, layer.out_channels, layer.kernel_size, 2, groups=layer.groups, bias=False
            )
            plain.weight = layer.weight
            frozen.set_submodule(name, nn.Sequential(nn.ZeroPad2d((side - 1, side) * 2), plain))
    assert "maps within 0 of" in check_backbone(backbone, info, BackboneModel({}, backbone), images)
    with torch.inference_mode():
        even = torch.rand(1, 3, 64, 96)
        assert all(torch.allclose(one, other) for one, other in zip(frozen(even), backbone(even), strict=True))
    with pytest.raises((UserError, RuntimeError)):
        check_backbone(backbone, info, BackboneModel({}, frozen), images)
