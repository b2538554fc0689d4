"""Reduced images: what the detector makes of them is what it makes of the whole ones."""

from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detecting import settings
from hypothesis import given
from hypothesis import strategies as st
from make_coco import read_coco, tree_of, write_coco
from PIL import Image
from torch import Tensor

from detnas.config import FPNSettings, TrainingSettings
from detnas.data.detection import DetectionSet
from detnas.data.images import check_sizes, downscale, downscale_sizes, find_vanishing
from detnas.data.samples import DetectionSamples
from detnas.models.detectors.detect import detect
from detnas.models.detectors.geometry import ImageTransform
from detnas.models.weights import DetectorInfo
from detnas.spaces import search_space
from detnas.utils.errors import UserError

SIDES = st.integers(1, 5000)


def detector(geometry: str = "torchvision", min_size: int = 60, max_size: int = 100) -> FPNSettings:
    return FPNSettings.model_validate({"min_size": min_size, "max_size": max_size, "geometry": geometry})


@given(SIDES, SIDES, st.integers(1, 1000), st.integers(0, 1000), st.sampled_from([1.0, 1.2, 2.0]))
def test_sizes_are_those_at_which_a_detector_leaves_an_image_as_it_is(
    width: int, height: int, least: int, more: int, margin: float
) -> None:
    (size,) = downscale_sizes(np.array([[width, height]]), least, least + more, margin).tolist()
    allowed = max(1.0, min(margin * least / min(width, height), margin * (least + more) / max(width, height)))
    assert size[0] <= width and size[1] <= height
    if allowed >= 1 and min(width, height) <= least and max(width, height) <= least + more:
        assert size == [width, height]
    # As torchvision computes its scale.
    scale = float(torch.min(torch.tensor(least) / min(size), torch.tensor(least + more) / max(size)))
    if size != [width, height] and margin == 1.0:
        assert scale == 1.0
        # Within a pixel of what it would make of the whole image.
        whole = min(least / min(width, height), (least + more) / max(width, height))
        assert all(abs(side - max(1, whole * before)) <= 1 for side, before in zip(size, (width, height), strict=True))
    elif size == [width, height]:
        assert min(width, height) <= np.ceil(margin * least) or max(width, height) <= np.ceil(margin * (least + more))


def leaves(size: list[int], least: int, most: int) -> list[int]:
    """What torchvision makes of an image of this size."""
    scale = min(least / min(size), most / max(size))
    return [floor(float(side) * scale) for side in size]


@given(SIDES, st.integers(1, 200_000), st.booleans(), st.integers(2, 1000), st.integers(0, 1000), st.floats(1, 4))
def test_something_is_left_of_every_image_that_is_not_refused(
    shorter: int, longer: int, upright: bool, least: int, more: int, margin: float
) -> None:
    size = [shorter, longer] if upright else [longer, shorter]
    most = least + more
    if len(find_vanishing(np.array([size]), most)):
        assert min(size) * most <= max(size)
        with pytest.raises(
            UserError, match=rf"a\.png: nothing is left of .* {size[0]}x{size[1]} pixels .* = {most}; cut"
        ):
            check_sizes([Path("a.png")], np.array([size]), most)
        return
    check_sizes([Path("a.png")], np.array([size]), most)
    assert min(leaves(size, least, most)) >= 1
    (reduced,) = downscale_sizes(np.array([size]), least, most, margin).tolist()
    assert min(leaves(reduced, least, most)) >= 1 and reduced[0] <= size[0] and reduced[1] <= size[1]
    # Only where the shorter side would be rounded away does it have other than the rounded size.
    allowed = min(ceil(least * margin) / min(size), ceil(most * margin) / max(size))
    if allowed < 1 and min(size) * most > 2 * max(size):
        assert all(abs(new - side * allowed) <= 0.5 + 1e-6 for new, side in zip(reduced, size, strict=True))


@pytest.mark.parametrize("geometry", ["torchvision", "maskrcnn-benchmark"])
@pytest.mark.parametrize("kind", ["fpn", "retinanet"])
def test_thin_images_are_trained_on_and_detected_on(kind: str, geometry: str) -> None:
    chosen = settings(kind, geometry=geometry, min_size=64, max_size=64)
    space = search_space("tiny", 0.25)
    model = DetectorInfo(space, space.uniform("shuffle3"), chosen, ((1, "a"), (2, "b"))).build()
    for size in ((1000, 16), (16, 1000), (63, 1)):
        (reduced,) = downscale_sizes(np.array([size]), 64, 64, 1.2).tolist()
        # One as thin as boxes can be: nothing of it is left, in float32 or beside the pixel that is not scaled.
        thin = [reduced[0] * 0.9, 0.0, reduced[0] * 0.9 + 1e-9, reduced[1] * 0.5]
        boxes = torch.tensor([[0.0, 0.0, reduced[0] * 0.6, reduced[1] * 0.7], thin])
        losses = model.train()([torch.rand(3, *reversed(reduced))], [{"boxes": boxes, "labels": torch.tensor([1, 1])}])
        assert torch.isfinite(sum(losses.values()))
        image = torch.randint(0, 255, (3, *reversed(size)), dtype=torch.uint8)
        (found,) = detect(model.eval(), [image], torch.device("cpu"))
        assert (found.boxes[:, 2:] >= found.boxes[:, :2]).all()


def seen(settings: FPNSettings, image: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The image, in gray levels, and the boxes that the detector works on."""
    transform = ImageTransform(settings).train()
    image, resized = transform.resize(image.float(), target)
    return image, resized["boxes"]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> DetectionSet:
    """Large images, lying, upright and long, of grain and of boxes; one that is small."""
    folder = tmp_path_factory.mktemp("large")
    boxes = [(1, [10.0, 20.0, 60.0, 33.0]), (2, [101.5, 3.25, 48.5, 90.0])]
    tree = tree_of([(200, 150, boxes), (150, 300, boxes), (400, 150, boxes), (50, 40, [(1, [1.0, 2.0, 30.0, 20.0])])])
    write_coco(folder / "train.json", folder / "train", tree)
    for image in tree["images"]:
        rng = np.random.default_rng(image["id"])
        pixels = rng.integers(0, 256, (image["height"], image["width"], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "train" / image["file_name"])
    return read_coco(folder / "train.json", folder / "train")


def training(**changes: Any) -> TrainingSettings:
    return TrainingSettings.model_validate({"steps": 10, "batch_size": 2, "lr": 0.1, **changes})


@pytest.mark.parametrize("geometry", ["torchvision", "maskrcnn-benchmark"])
def test_a_detector_sees_reduced_images_as_it_sees_whole_ones(geometry: str, large: DetectionSet) -> None:
    settings = detector(geometry)
    for changes in ({"flip": 0}, {"flip": 1}, {"flip": 1, "vertical_flip": 1}):
        whole = DetectionSamples(large, training(**changes), 100)
        fewer = DetectionSamples(large, training(**changes), 100, detector=settings)
        assert fewer.sizes.tolist() == [[80, 60], [50, 100], [100, 38], [50, 40]]
        for index in range(4):
            image, target = fewer[index, 5]
            assert list(image.shape[:0:-1]) == fewer.sizes[index].tolist() and image.dtype == torch.uint8
            seen_image, boxes = seen(settings, image, target)
            expected, expected_boxes = seen(settings, *whole[index, 5])
            if index == 2:  # 37.5 pixels high: the one is rounded, the other cut off
                assert seen_image.shape == (3, 38, 100) and expected.shape == (3, 37, 100)
                assert (boxes - expected_boxes).abs().max() < 1
            else:
                assert seen_image.shape == expected.shape
                assert (seen_image - expected).abs().max() <= 1.001  # of 255
                assert torch.allclose(boxes, expected_boxes, atol=1e-3)


def test_small_images_stay_as_they_are(large: DetectionSet) -> None:
    for changes in ({"scale_jitter": (0.5, 2.0)}, {}):
        whole = DetectionSamples(large, training(**changes), 0)
        fewer = DetectionSamples(large, training(**changes), 0, detector=detector("maskrcnn-benchmark"))
        for seed in range(5):
            (image, target), (other, others) = whole[3, seed], fewer[3, seed]
            assert torch.equal(image, other) and torch.equal(target["boxes"], others["boxes"])


@pytest.mark.parametrize("geometry", ["torchvision", "maskrcnn-benchmark"])
def test_what_is_enlarged_at_random_is_reduced_less(geometry: str, large: DetectionSet) -> None:
    settings, jitter = detector(geometry), training(scale_jitter=(1.5, 1.5), flip=1)
    fewer = DetectionSamples(large, jitter, 100, detector=settings)
    assert fewer.sizes.tolist() == [[120, 90], [75, 150], [150, 56], [50, 40]]
    whole = DetectionSamples(large, jitter, 100)
    for index, seed in ((0, 1), (0, 2), (1, 1)):
        (image, target), (other, others) = fewer[index, seed], whole[index, seed]
        assert torch.equal(target["labels"], others["labels"])
        _, boxes = seen(settings, image, target)
        _, expected = seen(settings, other, others)
        # The crop's corner is drawn in whole pixels, of the reduced image or of the whole one.
        sides, expected_sides = (found[:, 2:] - found[:, :2] for found in (boxes, expected))
        inside = (expected[:, 0] > 3) & (expected[:, 1] > 3) & (boxes[:, 0] > 3) & (boxes[:, 1] > 3)
        inside &= (boxes[:, 2] < image.shape[2] / 1.5 - 3) & (boxes[:, 3] < image.shape[1] / 1.5 - 3)
        assert torch.allclose(sides[inside], expected_sides[inside], atol=1.0)


def test_reduction_is_within_a_gray_level_of_floating_point() -> None:
    image = torch.randint(0, 256, (3, 301, 407), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    small = downscale(image, 111, 97)
    exact = torch.nn.functional.interpolate(image[None].float(), (97, 111), mode="bilinear", align_corners=False)[0]
    assert small.dtype == torch.uint8 and small.shape == exact.shape and (small - exact).abs().max() <= 1.001
    assert downscale(image, 407, 301) is image
