"""maskrcnn-benchmark's anchors, boxes and pooling, against what its convention says of pixels, edges included."""

import numpy as np
import pytest
import torch
from small_models import ARCHITECTURES, SETTINGS, SPACE, fpn, random_images
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import roi_align

from detnas.config import FPNSettings, Preprocessing
from detnas.models.backbone import Subnet
from detnas.models.detectors.build import build_detector
from detnas.models.detectors.geometry import CellAnchors, ImageTransform, InnerPixelsRoIAlign, cell_anchors
from detnas.models.preprocessing import normalize

# Faster R-CNN's anchors as they have always been printed: x1, y1, x2, y2, edges included, by ratio and then by size.
PRINTED = [
    [-84, -40, 99, 55],
    [-176, -88, 191, 103],
    [-360, -184, 375, 199],
    [-56, -56, 71, 71],
    [-120, -120, 135, 135],
    [-248, -248, 263, 263],
    [-36, -80, 51, 95],
    [-80, -168, 95, 183],
    [-168, -344, 183, 359],
]


def test_the_anchors_of_a_cell_are_those_of_faster_rcnn() -> None:
    ours = cell_anchors(16, (128, 256, 512), (0.5, 1.0, 2.0)).numpy()
    np.testing.assert_array_equal(ours - [0, 0, 1, 1], PRINTED)


def test_anchors_stand_on_every_cell_row_by_row() -> None:
    generator = CellAnchors(((32.0,), (64.0,)), (0.5, 2.0), (4, 64))
    images = ImageList(torch.zeros(2, 3, 96, 128), [(90, 120), (96, 128)])
    # The coarse map reaches beyond the image, as the pyramid's last level does; its cells are of 64 pixels still.
    first, second = generator(images, [torch.zeros(2, 1, 24, 32), torch.zeros(2, 1, 2, 2)])
    assert torch.equal(first, second) and first.shape == (2 * (24 * 32 + 4), 4)
    centers = (first[:, :2] + first[:, 2:]) / 2
    assert centers[[0, 1, 2, 2 * 32]].tolist() == [[2, 2], [2, 2], [6, 2], [2, 6]]
    assert centers[2 * 24 * 32 :: 2].tolist() == [[32, 32], [96, 32], [32, 96], [96, 96]]
    # Of 4 x 4 pixels, 6 x 3 is nearest to half as high as wide; eight times as large.
    assert (first[0, 2:] - first[0, :2]).tolist() == [48, 24]


@pytest.mark.parametrize("geometry", ["torchvision", "maskrcnn-benchmark"])
def test_boxes_follow_their_image_and_come_back(geometry: str) -> None:
    settings = FPNSettings.model_validate({"min_size": 96, "max_size": 160, "geometry": geometry})
    transform = ImageTransform(settings).train()
    image = random_images((48, 64))[0]
    target = {"boxes": torch.tensor([[4.0, 6.0, 20.0, 40.0]]), "labels": torch.tensor([1])}
    images, targets = transform([image], [target])
    assert images.image_sizes == [(96, 128)]
    # Its last pixels are 19 and 39, which in the doubled image are pixels 38 and 78.
    expected = [8, 12, 40, 80] if geometry == "torchvision" else [8, 12, 38 + 1, 78 + 1]
    assert targets[0]["boxes"].tolist() == [expected]
    assert target["boxes"].tolist() == [[4, 6, 20, 40]]
    results = [{"boxes": targets[0]["boxes"]}]
    (back,) = transform.eval().postprocess(results, images.image_sizes, [(48, 64)])
    assert back["boxes"].tolist() == [[4, 6, 20, 40]] and results[0]["boxes"].tolist() == [expected]


def test_a_pixel_less_is_pooled_and_the_level_is_that_of_the_whole_box() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = {"4": torch.rand(1, 2, 32, 32, generator=generator), "8": torch.rand(1, 2, 16, 16, generator=generator)}
    pooling = InnerPixelsRoIAlign((4, 8), 64, 7)
    # A box of 32 pixels is the least to be pooled from stride 8: without its last pixels it would not be.
    boxes = torch.tensor([[8.0, 8.0, 40.0, 40.0], [8.0, 8.0, 39.0, 39.0]])
    pooled = pooling(maps, [boxes], [(128, 128)])
    for one, box, name, stride in zip(pooled, boxes, ("8", "4"), (8, 4), strict=True):
        inner = torch.cat((torch.zeros(1), box - torch.tensor([0, 0, 1, 1])))[None]
        assert torch.allclose(one, roi_align(maps[name], inner, 7, 1 / stride, 2)[0])


def test_bgr_is_the_same_detector_on_images_of_turned_channels() -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 1.0, 2.0)
    turned = Preprocessing(image_mean=mean[::-1], image_std=std[::-1])
    image = random_images((5, 7))[0]
    bgr = Preprocessing(image_mean=mean, image_std=std, channel_order="bgr")
    assert torch.equal(normalize(image, bgr), normalize(image[[2, 1, 0]], turned))
    assert torch.equal(normalize(image[None], bgr)[0], normalize(image, bgr))
    with pytest.raises(TypeError, match="uint8"):
        normalize(torch.zeros(3, 4, 4, dtype=torch.uint8), bgr)


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_detector_takes_channels_in_its_order(kind: str) -> None:
    results = []
    for order, channels in (("rgb", [0, 1, 2]), ("bgr", [2, 1, 0]), ("bgr", [0, 1, 2])):
        torch.manual_seed(0)
        settings = SETTINGS[kind](channel_order=order, image_mean=(0, 0, 0), image_std=(0.2, 0.2, 0.2))
        detector = build_detector(Subnet(SPACE, ARCHITECTURES[1]), 3, settings).eval()
        with torch.no_grad():
            results.append(detector([random_images((64, 80))[0][channels]])[0]["scores"])
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


def test_a_detector_of_this_geometry_trains_and_detects() -> None:
    detector = build_detector(Subnet(SPACE, ARCHITECTURES[1]), 3, fpn(geometry="maskrcnn-benchmark"))
    target = {"boxes": torch.tensor([[4.0, 6.0, 30.0, 40.0]]), "labels": torch.tensor([1])}
    losses = detector.train()(random_images((64, 80)), [target])
    assert all(torch.isfinite(loss) for loss in losses.values())
    with torch.no_grad():
        (found,) = detector.eval()(random_images((64, 80)))
    assert len(found["boxes"]) and (found["boxes"] >= 0).all()
