"""Weights files in other people's code: as timm's feature backbones, and in detectors built by torchvision's calls."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_models import ARCHITECTURES, SETTINGS, SPACE, random_images
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from detnas import create_backbone
from detnas.models.weights import DetectorInfo, load_detector, save_detector

CATEGORIES = ((1, "a"), (2, "b"), (3, "c"))


def stored(kind: str, file: Path, **changes: Any) -> DetectorInfo:
    """The weights file of a detector whose BN has statistics of its own."""
    torch.manual_seed(0)
    info = DetectorInfo(SPACE, ARCHITECTURES[1], SETTINGS[kind](**changes), CATEGORIES)
    detector = info.build()
    for name, tensor in detector.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
    save_detector(file, detector, info)
    return info


def test_a_backbone_has_the_interface_of_timms(tmp_path: Path) -> None:
    stored("fpn", tmp_path / "a.safetensors")
    backbone = create_backbone(tmp_path / "a.safetensors")
    maps = backbone(torch.rand(2, 3, 64, 96))
    assert isinstance(maps, list)
    channels, reductions = backbone.feature_info.channels(), backbone.feature_info.reduction()
    assert (channels, reductions) == ([8, 16, 24, 32], [4, 8, 16, 32])
    for x, number, reduction in zip(maps, channels, reductions, strict=True):
        assert x.shape == (2, number, 64 // reduction, 96 // reduction)
    channels.append(1)
    assert len(backbone.feature_info.channels()) == 4


class WithPyramid(nn.Module):
    """What torchvision's BackboneWithFPN is, for a backbone that gives a list."""

    def __init__(self, body: nn.Module, pyramid: FeaturePyramidNetwork, maps: slice) -> None:
        super().__init__()
        self.body = body
        self.pyramid = pyramid
        self.maps = maps
        self.out_channels = 16

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.body(images)[self.maps]
        return self.pyramid(OrderedDict((str(index), x) for index, x in enumerate(maps)))


def faster_rcnn(body: nn.Module) -> FasterRCNN:
    pyramid = FeaturePyramidNetwork([8, 16, 24, 32], 16, LastLevelMaxPool(), nn.BatchNorm2d)
    return FasterRCNN(
        WithPyramid(body, pyramid, slice(0, 4)),
        num_classes=None,
        min_size=64,
        max_size=96,
        image_mean=[0.1, 0.2, 0.3],
        image_std=[0.5, 0.6, 0.7],
        rpn_anchor_generator=AnchorGenerator(((8,), (16,), (24,), (32,), (48,)), ((0.5, 1.0, 2.0),) * 5),
        rpn_pre_nms_top_n_test=40,
        rpn_post_nms_top_n_test=20,
        box_roi_pool=MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2, canonical_scale=64),
        box_head=FastRCNNConvFCHead((16, 7, 7), [16] * 4, [32], nn.BatchNorm2d),
        box_predictor=FastRCNNPredictor(32, 4),
        box_score_thresh=0.0,
        box_nms_thresh=0.5,
        box_detections_per_img=20,
    )


def retinanet(body: nn.Module, losses: str) -> RetinaNet:
    scales = (1, 2 ** (1 / 3), 2 ** (2 / 3))
    sizes = tuple(tuple(size * scale for scale in scales) for size in (8, 16, 24, 32, 48))
    detector = RetinaNet(
        WithPyramid(body, FeaturePyramidNetwork([16, 24, 32], 16, LastLevelP6P7(16, 16)), slice(1, 4)),
        num_classes=3,
        min_size=64,
        max_size=96,
        image_mean=[0.1, 0.2, 0.3],
        image_std=[0.5, 0.6, 0.7],
        anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 5),
        head=RetinaNetHead(16, 9, 3),
        topk_candidates=40,
        score_thresh=0.0,
        nms_thresh=0.4,
        detections_per_img=20,
    )
    if losses == "paper":
        detector.box_coder = BoxCoder((10, 10, 5, 5))
    return detector


@pytest.mark.parametrize(("kind", "losses"), [("fpn", None), ("retinanet", "paper"), ("retinanet", "torchvision")])
def test_a_weights_file_loads_into_a_detector_of_torchvisions(kind: str, losses: str | None, tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    changes = {"losses": losses} if losses else {}
    stored(kind, file, image_mean=(0.1, 0.2, 0.3), image_std=(0.5, 0.6, 0.7), **changes)
    ours, _ = load_detector(file)
    body = create_backbone(file)
    theirs = faster_rcnn(body) if kind == "fpn" else retinanet(body, losses or "")
    torch.nn.init.zeros_(theirs.backbone.pyramid.inner_blocks[0][0].weight)
    theirs.load_state_dict(load_file(file))  # strictly: all tensors, and no others
    theirs.eval()
    with torch.no_grad():
        for found, expected in zip(
            theirs(random_images((40, 60), (64, 64))), ours(random_images((40, 60), (64, 64))), strict=True
        ):
            assert len(expected["boxes"]) == 20
            assert torch.equal(found["labels"], expected["labels"])
            assert torch.allclose(found["boxes"], expected["boxes"], atol=1e-3)
            assert torch.allclose(found["scores"], expected["scores"], atol=1e-5)
