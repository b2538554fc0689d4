"""The family of the paper's networks: ShuffleNetV2's stem and head, as in the official code."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from detnas.spaces.cost import Cost, Size, conv_cost, halved
from detnas.spaces.space import SearchSpace

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ShuffleNet:
    """A `Family`. Its stem is one convolution; a space's `first_block` is not possible."""

    def build_stem(self, space: SearchSpace) -> "nn.Module":
        from detnas.models.ops.shuffle import Stem

        return Stem(space.stem)

    def stem_cost(self, space: SearchSpace, size: Size) -> Cost:
        bias = Cost(0, space.stem)
        return conv_cost(3 * space.stem * 9, space.stem, halved(size)) + bias

    def build_head(self, channels: int, head_channels: int, num_classes: int, dropout: float) -> "nn.Sequential":
        """With 1024 `head_channels`, that of the paper's ImageNet networks."""
        from torch import nn

        convolution = nn.Conv2d(channels, head_channels, 1)
        linear = nn.Linear(head_channels, num_classes)
        head = nn.Sequential(
            convolution,
            nn.BatchNorm2d(head_channels),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            linear,
        )
        nn.init.normal_(convolution.weight, std=1.0 / channels)
        nn.init.normal_(linear.weight, std=0.01)
        nn.init.zeros_(linear.bias)
        return head

    def initialize(self, stem: "nn.Module", modules: Iterable["nn.Module"]) -> None:
        """As the official code: normal with standard deviation 1 / fan-in channels; BN shifts of 1e-4."""
        from torch import nn

        for module in modules:
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=1.0 / module.weight.shape[1])
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.ones_(module.weight)
                nn.init.constant_(module.bias, 1e-4)
        nn.init.normal_(stem.get_parameter("0.weight"), std=0.01)
