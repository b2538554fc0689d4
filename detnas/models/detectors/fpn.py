"""Faster R-CNN with a feature pyramid: torchvision's, and the 4conv1fc box head."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.models.detection.image_list import ImageList
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from detnas.config import FPNSettings
from detnas.config.detector_costs import POOLED
from detnas.distributed import comm
from detnas.models.backbone import Backbone
from detnas.models.detectors.geometry import InnerPixelsRoIAlign, PyramidRoIAlign
from detnas.models.detectors.pyramid import build_anchors, build_pyramid, norm_layer
from detnas.models.detectors.spec import Detector, DetectorSpec, ExportedPart


def build(backbone: Backbone, num_classes: int, settings: FPNSettings) -> FasterRCNN:
    """The Faster R-CNN that `settings` describe, around `backbone`."""
    pyramid = build_pyramid(backbone, settings, settings.norm, LastLevelMaxPool())
    detector = FasterRCNN(
        pyramid,
        num_classes=None,
        rpn_anchor_generator=build_anchors(settings),
        box_roi_pool=build_pool(settings),
        box_head=BoxHead(
            (settings.fpn_channels, POOLED, POOLED),
            [settings.box_channels] * settings.box_convs,
            [settings.box_features],
            norm_layer=norm_layer(settings.norm),
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
    for part in (detector.rpn, detector.roi_heads):
        sampler = part.fg_bg_sampler
        part.fg_bg_sampler = CountingSampler(sampler.batch_size_per_image, sampler.positive_fraction)
        part.register_forward_hook(part.fg_bg_sampler.weigh)
    return detector


def build_pool(settings: FPNSettings) -> PyramidRoIAlign:
    """What pools regions of the pyramid for the box head."""
    pool = PyramidRoIAlign if settings.geometry == "torchvision" else InnerPixelsRoIAlign
    return pool(settings.strides, settings.roi_canonical_size, POOLED)


def towers(settings: FPNSettings) -> list[list[str]]:
    return [[f"roi_heads.box_head.{index}" for index in range(settings.box_convs)]]


def set_sizes(detector: Detector, settings: FPNSettings) -> None:
    detector.rpn.anchor_generator = build_anchors(settings)
    detector.roi_heads.box_roi_pool = build_pool(settings)


class BoxHead(FastRCNNConvFCHead):  # type: ignore[misc]  # untyped
    """Faster R-CNN's box head: regions (R, C, 7, 7) -> (R, F). On a CPU it computes a few regions at a time, whose maps
    stay in the processor's caches."""

    REGIONS = 128

    def forward(self, regions: Tensor) -> Tensor:
        whole = super().forward
        # An exported graph cannot take as many turns as there are regions.
        if self.training or regions.device.type != "cpu" or torch.onnx.is_in_onnx_export():
            return cast(Tensor, whole(regions))
        return torch.cat([whole(part) for part in torch.split(regions, self.REGIONS)])


class CountingSampler(BalancedPositiveNegativeSampler):  # type: ignore[misc]
    """torchvision's sampler of anchors or proposals, with which losses are means over what all processes sampled.

    torchvision's losses are means over what one process sampled, which is less where an image has not enough. Processes
    take the mean of their gradients, which is the gradient of the whole batch's loss only if all divide by what the
    whole batch holds.
    """

    weight: Tensor
    """The weight of this process's mean in the mean of all; 1 in a single process."""

    def __call__(self, matched_idxs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        positive, negative = super().__call__(matched_idxs)
        sampled = torch.cat([*positive, *negative]).sum().float()
        self.weight = sampled / comm.all_reduce_mean(sampled)
        return positive, negative

    def weigh(self, part: Any, inputs: Any, output: tuple[Any, dict[str, Tensor]]) -> tuple[Any, dict[str, Tensor]]:
        """A forward hook for the part of the detector that samples: its output with the losses, if any, weighted."""
        found, losses = output
        return found, {name: loss * self.weight for name, loss in losses.items()}


class FasterRCNNNetworks(nn.Module):
    """Backbone, pyramid and heads: an image (1, 3, H, W) and its size (2,) without the padding -> proposals (n, 4),
    logits (n, 1 + classes) with the background first, and codes of boxes (n, 4 + 4 classes).

    What the second stage sees depends on the first, so that choosing the proposals is part of it.
    """

    def __init__(self, detector: FasterRCNN) -> None:
        super().__init__()
        self.backbone, self.rpn, self.heads = detector.backbone, detector.rpn, detector.roi_heads
        self.eval()

    def forward(self, images: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        maps = self.backbone(images)
        sizes: Any = [(size[0], size[1])]
        proposals, _ = self.rpn(ImageList(images, sizes), maps)
        logits, codes = self.heads.box_predictor(self.heads.box_head(self.heads.box_roi_pool(maps, proposals, sizes)))
        return proposals[0], logits, codes


def export(detector: Detector) -> ExportedPart:
    about = {"box_weights": list(detector.roi_heads.box_coder.weights)}
    return ExportedPart(FasterRCNNNetworks(detector), stages=2, about=about)


FPN = DetectorSpec(settings=FPNSettings, build=build, first_label=1, towers=towers, set_sizes=set_sizes, export=export)
