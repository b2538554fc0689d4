"""The paper's RetinaNet losses."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import sigmoid_focal_loss

BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""By these factors the box head answers more than the offsets (in anchors) and the log sizes."""
BETA = 0.11
REGRESSION_NORMALISER = 4.0


class PaperRetinaNetHead(RetinaNetHead):  # type: ignore[misc]
    """torchvision's head with the losses of the official code.

    Focal loss (alpha 0.25, gamma 2) summed over the batch and divided by its positive anchors plus its pictures;
    smooth-L1 summed over the batch's positive anchors and divided by four times their number.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.regression_head.box_coder = paper_box_coder()

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> dict[str, Tensor]:
        """As torchvision calls it: `matched_idxs` say which target each anchor is for, or why it is for none."""
        classification, regression, positives = [], [], 0
        for target, logits, answers, boxes, matches in zip(
            targets, head_outputs["cls_logits"], head_outputs["bbox_regression"], anchors, matched_idxs, strict=True
        ):
            positive = torch.where(matches >= 0)[0]
            matched = matches[positive]
            positives += len(positive)
            classes = torch.zeros_like(logits)
            classes[positive, target["labels"][matched]] = 1
            counted = matches != Matcher.BETWEEN_THRESHOLDS
            classification.append(sigmoid_focal_loss(logits[counted], classes[counted], reduction="sum"))
            wanted = self.regression_head.box_coder.encode_single(target["boxes"][matched], boxes[positive])
            regression.append(smooth_l1_loss(answers[positive], wanted, beta=BETA, reduction="sum"))
        return {
            "classification": torch.stack(classification).sum() / (positives + len(targets)),
            "bbox_regression": torch.stack(regression).sum() / max(1, positives * REGRESSION_NORMALISER),
        }


def paper_box_coder() -> BoxCoder:
    return BoxCoder(weights=BOX_WEIGHTS)
