"""The paper's RetinaNet losses, and losses over the batch of several processes.

Several processes take the mean of their gradients. Where a loss is a sum over its batch divided by what this batch
holds, that is the gradient of the whole batch only if all divide by what the whole holds.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, BoxCoder, Matcher
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import sigmoid_focal_loss

from detnas.distributed import comm

BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""By these factors the box head answers more than the offsets (in anchors) and the log sizes."""
BETA = 0.11
REGRESSION_NORMALIZER = 4.0


class PaperRetinaNetHead(RetinaNetHead):  # type: ignore[misc]
    """torchvision's head with the losses of the official code.

    Focal loss (alpha 0.25, gamma 2) summed over the batch and divided by its positive anchors plus its images;
    smooth-L1 summed over the batch's positive anchors and divided by four times their number. The batch is that of all
    processes; each has its part of the sums.
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
        of_all = comm.all_reduce_int(positives)
        return {
            "classification": torch.stack(classification).sum() / (of_all / comm.world_size() + len(targets)),
            "bbox_regression": torch.stack(regression).sum()
            / (max(1, of_all * REGRESSION_NORMALIZER) / comm.world_size()),
        }


def paper_box_coder() -> BoxCoder:
    return BoxCoder(weights=BOX_WEIGHTS)


def share_normalizers(model: nn.Module) -> None:
    """Make torchvision's Faster R-CNN, if `model` is one, divide its losses by what all processes sampled.

    Its losses are means over the anchors and the proposals that were sampled, fewer where an image has not enough.
    """
    if isinstance(model, FasterRCNN):
        for part in (model.rpn, model.roi_heads):
            sampler = part.fg_bg_sampler
            part.fg_bg_sampler = _CountingSampler(sampler.batch_size_per_image, sampler.positive_fraction)
            part.register_forward_hook(part.fg_bg_sampler.weigh)


class _CountingSampler(BalancedPositiveNegativeSampler):  # type: ignore[misc]
    weight: Tensor
    """Of this process's mean in the mean of all."""

    def __call__(self, matched_idxs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        positive, negative = super().__call__(matched_idxs)
        sampled = torch.cat([*positive, *negative]).sum().float()
        self.weight = sampled / comm.all_reduce_mean(sampled)
        return positive, negative

    def weigh(
        self, part: nn.Module, inputs: object, output: tuple[Any, dict[str, Tensor]]
    ) -> tuple[Any, dict[str, Tensor]]:
        """A hook on what samples: its output with the losses, if there are any, weighed."""
        found, losses = output
        return found, {name: loss * self.weight for name, loss in losses.items()}
