"""Prepared images: a detector finds on them what it finds on the images, to the bit."""

from itertools import product

import numpy as np
import pytest
import torch
from small_models import ARCHITECTURES, NUM_CLASSES, SETTINGS, SPACE, random_images

from detnas.models.backbone import Subnet
from detnas.models.detectors.build import Detector, build_detector
from detnas.models.detectors.detect import detect
from detnas.models.detectors.geometry import ImageTransform
from detnas.models.detectors.prepared import on_device, prepare

CPU = torch.device("cpu")
SIZES = [(40, 60), (128, 96), (64, 64)]


def build(kind: str, **changes: object) -> Detector:
    torch.manual_seed(0)
    return build_detector(Subnet(SPACE, ARCHITECTURES[1]), NUM_CLASSES, SETTINGS[kind](**changes)).eval()


@pytest.mark.parametrize(("kind", "geometry"), list(product(SETTINGS, ["torchvision", "maskrcnn-benchmark"])))
def test_the_same_is_found_as_on_the_images(kind: str, geometry: str) -> None:
    detector = build(kind, geometry=geometry)
    images = [(image * 255).to(torch.uint8) for image in random_images(*SIZES)]
    prepared = prepare(ImageTransform(detector.transform.settings).eval(), on_device(images, CPU))
    for _ in range(2):  # nothing is used up
        for one, other in zip(detect(detector, prepared, CPU), detect(detector, images, CPU), strict=True):
            assert len(one.scores) > 0
            np.testing.assert_array_equal(one.boxes, other.boxes)
            np.testing.assert_array_equal(one.scores, other.scores)
            np.testing.assert_array_equal(one.labels, other.labels)


def test_what_is_prepared_is_the_batch_and_the_sizes() -> None:
    detector = build("retinanet")
    prepared = prepare(detector.transform, random_images(*SIZES))
    assert prepared.pixels.shape == (3, 3, 96, 96) and prepared.pixels.dtype == torch.float32
    assert prepared.pixels.is_contiguous(memory_format=torch.channels_last)
    assert prepared.sizes == [(64, 96), (85, 64), (64, 64)]
    assert prepared.original_sizes == SIZES
    assert [image.shape for image in prepared] == [(3, height, width) for height, width in SIZES]
