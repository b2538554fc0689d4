"""Detectors: torchvision's Faster R-CNN with FPN and RetinaNet around any backbone."""

from collections import OrderedDict
from collections.abc import Callable
from math import log2
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7
from torchvision.ops.poolers import initLevelMapper

from detnas.config import FPNSettings, RetinaNetSettings
from detnas.models.backbone import Backbone
from detnas.models.detectors.geometry import CellAnchors, ImageTransform, InnerPixelsRoIAlign
from detnas.models.detectors.losses import PaperRetinaNetHead, paper_box_coder
from detnas.utils.errors import UserError

Detector: TypeAlias = FasterRCNN | RetinaNet


class PyramidBackbone(nn.Module):
    """A backbone with a feature pyramid, as torchvision's detectors want it.

    Images (N, 3, H, W) -> maps of `out_channels` channels, by name, finest first.
    """

    def __init__(self, body: Backbone, pyramid: FeaturePyramidNetwork, strides: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.body = body
        self.pyramid = pyramid
        self.strides = strides
        self.out_channels = channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = zip(self.body.strides, self.body(images), strict=True)
        pyramid: dict[str, Tensor] = self.pyramid(
            OrderedDict((str(stride), x) for stride, x in maps if stride in self.strides)
        )
        return pyramid


class BoxHead(FastRCNNConvFCHead):  # type: ignore[misc]  # untyped
    """Faster R-CNN's box head, which on a CPU answers some regions after the others: regions (R, C, 7, 7) -> (R, F).

    The maps of a few regions stay in the processor's caches.
    """

    REGIONS = 128

    def forward(self, regions: Tensor) -> Tensor:
        whole = super().forward
        # An exported graph cannot take as many turns as there are regions.
        if self.training or regions.device.type != "cpu" or torch.onnx.is_in_onnx_export():
            return cast(Tensor, whole(regions))
        return torch.cat([whole(part) for part in torch.split(regions, self.REGIONS)])


def build_detector(backbone: Backbone, num_classes: int, settings: FPNSettings | RetinaNetSettings) -> Detector:
    """The detector that `settings` describe, around `backbone`.

    In training mode it takes images (3, H, W) in 0-1 and torchvision's targets, labels from `first_label` on, and
    returns losses; in evaluation mode it returns boxes (pixels of the given images), scores and labels.
    """
    detector: Detector
    if isinstance(settings, FPNSettings):
        detector = _fpn(backbone, num_classes, settings)
    else:
        detector = _retinanet(backbone, num_classes, settings)
    detector.transform = ImageTransform(settings)
    return detector.to(memory_format=torch.channels_last)


def first_label(detector: Detector) -> int:
    """The label of the first class: 1 where torchvision takes 0 for the background, else 0."""
    return 1 if isinstance(detector, FasterRCNN) else 0


def _fpn(backbone: Backbone, num_classes: int, settings: FPNSettings) -> FasterRCNN:
    norm = _norm_layer(settings.norm)
    pyramid = _pyramid(backbone, settings, LastLevelMaxPool())
    return FasterRCNN(
        pyramid,
        num_classes=None,
        rpn_anchor_generator=_anchors(settings, tuple((size,) for size in settings.anchor_sizes)),
        box_roi_pool=_pooling(settings),
        box_head=BoxHead(
            (settings.fpn_channels, 7, 7),
            [settings.box_channels] * settings.box_convs,
            [settings.box_features],
            norm_layer=norm,
        ),
        box_predictor=FastRCNNPredictor(settings.box_features, num_classes + 1),
        rpn_pre_nms_top_n_train=settings.rpn_candidates_train,
        rpn_pre_nms_top_n_test=settings.rpn_candidates,
        rpn_post_nms_top_n_train=settings.proposals_train,
        rpn_post_nms_top_n_test=settings.proposals,
        box_batch_size_per_image=settings.rois,
        box_score_thresh=settings.score_threshold,
        box_nms_thresh=settings.nms_threshold,
        box_detections_per_img=settings.detections,
    )


def _retinanet(backbone: Backbone, num_classes: int, settings: RetinaNetSettings) -> RetinaNet:
    channels = settings.fpn_channels
    extra = LastLevelP6P7(channels, channels) if settings.extra_levels == 2 else None
    anchors = _anchors(
        settings, tuple(tuple(size * scale for scale in settings.anchor_scales) for size in settings.anchor_sizes)
    )
    make_head = PaperRetinaNetHead if settings.losses == "paper" else RetinaNetHead
    head = make_head(
        channels,
        anchors.num_anchors_per_location()[0],
        num_classes,
        norm_layer=_norm_layer(settings.norm),
    )
    for tower in (head.classification_head, head.regression_head):
        tower.conv = tower.conv[: settings.head_convs]
    detector = RetinaNet(
        _pyramid(backbone, settings, extra),
        num_classes=num_classes,
        anchor_generator=anchors,
        head=head,
        topk_candidates=settings.candidates,
        score_thresh=settings.score_threshold,
        nms_thresh=settings.nms_threshold,
        detections_per_img=settings.detections,
    )
    if settings.losses == "paper":
        detector.box_coder = paper_box_coder()
    return detector


def _pyramid(backbone: Backbone, settings: FPNSettings | RetinaNetSettings, extra: nn.Module | None) -> PyramidBackbone:
    channels = dict(zip(backbone.strides, backbone.channels, strict=True))
    missing = [stride for stride in settings.strides if stride not in channels]
    if missing:
        raise UserError(f"detector.strides {list(settings.strides)}: the backbone has maps of {backbone.strides} only")
    pyramid = FeaturePyramidNetwork(
        [channels[stride] for stride in settings.strides],
        settings.fpn_channels,
        extra_blocks=extra,
        norm_layer=_norm_layer(settings.norm),
    )
    return PyramidBackbone(backbone, pyramid, settings.strides, settings.fpn_channels)


def _anchors(settings: FPNSettings | RetinaNetSettings, sizes: tuple[tuple[float, ...], ...]) -> AnchorGenerator:
    """`sizes` by pyramid level."""
    if settings.geometry == "torchvision":
        return AnchorGenerator(sizes, (settings.anchor_ratios,) * len(sizes))
    strides = list(settings.strides)
    while len(strides) < len(sizes):
        strides.append(2 * strides[-1])
    return CellAnchors(sizes, settings.anchor_ratios, tuple(strides))


def _pooling(settings: FPNSettings) -> MultiScaleRoIAlign:
    levels = [str(stride) for stride in settings.strides]
    if settings.geometry == "torchvision":
        pooling = MultiScaleRoIAlign(
            levels, output_size=7, sampling_ratio=2, canonical_scale=settings.roi_canonical_size
        )
        # It would infer them from the first image it meets, and keep them: wrongly where that is small and padded.
        pooling.scales = [1 / stride for stride in settings.strides]
        lowest, highest = (int(log2(settings.strides[end])) for end in (0, -1))
        pooling.map_levels = initLevelMapper(lowest, highest, canonical_scale=settings.roi_canonical_size)
        return pooling
    return InnerPixelsRoIAlign(levels, settings.strides, settings.roi_canonical_size, output_size=7, sampling_ratio=2)


def _norm_layer(norm: str) -> Callable[..., nn.Module] | None:
    # Groups of eight channels: 32 groups at the usual 256 channels.
    layers: dict[str, Callable[..., nn.Module] | None] = {
        "none": None,
        "batch": nn.BatchNorm2d,
        "group": lambda channels: nn.GroupNorm(channels // 8, channels),
    }
    return layers[norm]
