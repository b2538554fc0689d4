"""The classifier in which a backbone is pre-trained."""

import torch
from torch import Tensor, nn

from detnas.models.backbone import Backbone
from detnas.models.families.spec import Family
from detnas.spaces.ops import find_family


class Classifier(nn.Module):
    """Backbone, 1x1 convolution to `head_channels`, BN, activation, dropout, average pooling, linear layer.

    Images (N, 3, H, W) -> logits (N, num_classes). The head is that of the backbone's family; pooling covers the last
    map whatever its size.
    """

    def __init__(self, backbone: Backbone, num_classes: int, head_channels: int = 1024, dropout: float = 0.2) -> None:
        super().__init__()
        self.backbone = backbone
        family: Family = find_family(backbone.family)
        self.head = family.build_head(backbone.channels[-1], head_channels, num_classes, dropout)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone(images)[-1])
        return logits
