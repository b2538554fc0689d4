"""The classifier in which a backbone is pre-trained."""

import torch
from torch import Tensor, nn

from detnas.models.backbone import Backbone


class Classifier(nn.Module):
    """Backbone, 1x1 convolution to `head_channels`, BN, ReLU, dropout, average pooling, linear layer.

    Images (N, 3, H, W) -> logits (N, num_classes). The head is that of the paper's ImageNet networks, with 1024
    channels there; pooling covers the last map whatever its size.
    """

    def __init__(self, backbone: Backbone, num_classes: int, head_channels: int = 1024, dropout: float = 0.2) -> None:
        super().__init__()
        self.backbone = backbone
        convolution = nn.Conv2d(backbone.channels[-1], head_channels, 1)
        linear = nn.Linear(head_channels, num_classes)
        self.head = nn.Sequential(
            convolution,
            nn.BatchNorm2d(head_channels),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            linear,
        )
        nn.init.normal_(convolution.weight, std=1.0 / backbone.channels[-1])
        nn.init.normal_(linear.weight, std=0.01)
        nn.init.zeros_(linear.bias)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone(images)[-1])
        return logits
