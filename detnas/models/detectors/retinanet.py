"""RetinaNet with a feature pyramid: torchvision's, and the paper's losses."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss
from torchvision.models.detection import RetinaNet
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import sigmoid_focal_loss
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from detnas.config import RetinaNetSettings
from detnas.distributed import comm
from detnas.models.backbone import Backbone
from detnas.models.detectors.geometry import CellAnchors
from detnas.models.detectors.pyramid import build_anchors, build_pyramid, norm_layer
from detnas.models.detectors.spec import Detector, DetectorSpec, ExportedPart

BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""The factors by which the box head's outputs exceed the offsets (in anchors) and the log sizes."""


def build(backbone: Backbone, num_classes: int, settings: RetinaNetSettings) -> RetinaNet:
    """The RetinaNet that `settings` describe, around `backbone`."""
    channels = settings.fpn_channels
    extra = LastLevelP6P7(channels, channels) if settings.extra_levels == 2 else None
    anchors = build_anchors(settings, settings.anchor_scales)
    make_head = PaperRetinaNetHead if settings.losses == "paper" else RetinaNetHead
    head = make_head(channels, anchors.num_anchors_per_location()[0], num_classes, norm_layer=norm_layer(settings.norm))
    for tower in (head.classification_head, head.regression_head):
        tower.conv = tower.conv[: settings.head_convs]
    detector = RetinaNet(
        build_pyramid(backbone, settings, settings.norm, extra),
        num_classes=num_classes,
        anchor_generator=anchors,
        head=head,
        topk_candidates=settings.candidates,
        score_thresh=settings.score_threshold,
        nms_thresh=settings.nms_threshold,
        detections_per_img=settings.detections,
    )
    if settings.losses == "paper":
        detector.box_coder = BoxCoder(BOX_WEIGHTS)
    return detector


def towers(settings: RetinaNetSettings) -> list[list[str]]:
    return [
        [f"head.{tower}_head.conv.{index}" for index in range(settings.head_convs)]
        for tower in ("classification", "regression")
    ]


def set_sizes(detector: Detector, settings: RetinaNetSettings) -> None:
    detector.anchor_generator = build_anchors(settings, settings.anchor_scales)


class PaperRetinaNetHead(RetinaNetHead):  # type: ignore[misc]  # untyped
    """torchvision's head with the losses of the official code.

    Focal loss (alpha 0.25, gamma 2) summed over the batch and divided by its positive anchors plus its images;
    smooth-L1 (beta 0.11) summed over the batch's positive anchors and divided by four times their number. The batch is
    that of all processes, for the reason that `detnas.models.detectors.fpn.CountingSampler` gives.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.regression_head.box_coder = BoxCoder(BOX_WEIGHTS)

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> dict[str, Tensor]:
        """The two losses. Of `matched_idxs`, (anchors,) for each image, a number from 0 is the target that an anchor is
        matched with, and a negative one says why there is none."""
        classification, regression, positives = [], [], 0
        for target, logits, codes, boxes, matches in zip(
            targets, head_outputs["cls_logits"], head_outputs["bbox_regression"], anchors, matched_idxs, strict=True
        ):
            positive = torch.where(matches >= 0)[0]
            matched = matches[positive]
            positives += len(positive)
            classes = torch.zeros_like(logits)
            classes[positive, target["labels"][matched]] = 1
            counted = matches != Matcher.BETWEEN_THRESHOLDS
            classification.append(sigmoid_focal_loss(logits[counted], classes[counted], reduction="sum"))
            expected = self.regression_head.box_coder.encode_single(target["boxes"][matched], boxes[positive])
            regression.append(smooth_l1_loss(codes[positive], expected, beta=0.11, reduction="sum"))
        of_all = comm.all_reduce_int(positives)
        return {
            "classification": torch.stack(classification).sum() / (of_all / comm.world_size() + len(targets)),
            "bbox_regression": torch.stack(regression).sum() / (max(1, of_all * 4.0) / comm.world_size()),
        }


class RetinaNetNetworks(nn.Module):
    """Backbone, pyramid and head: images (N, 3, H, W) -> logits (N, anchors, classes) and codes of boxes
    (N, anchors, 4), level by level."""

    def __init__(self, detector: RetinaNet) -> None:
        super().__init__()
        self.backbone, self.head = detector.backbone, detector.head
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        outputs = self.head(list(self.backbone(images).values()))
        return outputs["cls_logits"], outputs["bbox_regression"]


def export(detector: Detector) -> ExportedPart:
    anchors = detector.anchor_generator
    about = {
        "box_weights": list(detector.box_coder.weights),
        "cell_anchors": [cell.tolist() for cell in anchors.cell_anchors],
        "anchor_strides": list(anchors.strides) if isinstance(anchors, CellAnchors) else None,
    }
    return ExportedPart(RetinaNetNetworks(detector), stages=1, about=about)


RETINANET = DetectorSpec(
    settings=RetinaNetSettings, build=build, first_label=0, towers=towers, set_sizes=set_sizes, export=export
)
