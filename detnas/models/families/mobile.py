"""The family of MobileNetV2 and EfficientNet-Lite: a stem with a fixed first block, and their classifier's head."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from detnas.models.ops.layer_style import LayerStyle
from detnas.models.ops.mobile import MBConvOp
from detnas.spaces.block import Block
from detnas.spaces.cost import Cost, Size, conv_cost, halved
from detnas.spaces.space import SearchSpace

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Mobile:
    """A `Family` whose layers are made in one style."""

    style: LayerStyle

    def build_stem(self, space: SearchSpace) -> "nn.Module":
        from detnas.models.ops.mbconv import MobileStem

        return MobileStem(space.stem, space.first_block, self.style)

    def stem_cost(self, space: SearchSpace, size: Size) -> Cost:
        convolution = conv_cost(3 * space.stem * 9, space.stem, halved(size))
        if space.first_block is None:
            return convolution
        first = Block(0, space.stem, space.first_block, 1)
        return convolution + MBConvOp(1, 3, self.style).cost(first, halved(size))

    def build_head(self, channels: int, head_channels: int, num_classes: int, dropout: float) -> "nn.Sequential":
        """With 1280 `head_channels`, that of the ImageNet networks."""
        from torch import nn

        from detnas.models.ops.mbconv import conv_bn

        head = nn.Sequential(
            *conv_bn(channels, head_channels, 1, 1, 1, self.style),
            nn.ReLU6(inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(head_channels, num_classes),
        )
        nn.init.kaiming_normal_(head.get_parameter("0.weight"), mode="fan_out")
        nn.init.normal_(head.get_parameter("6.weight"), std=0.01)
        nn.init.zeros_(head.get_parameter("6.bias"))
        return head

    def initialize(self, stem: "nn.Module", modules: Iterable["nn.Module"]) -> None:
        """As EfficientNet: normal with standard deviation sqrt(2 / fan-out), in which groups count."""
        from torch import nn

        for module in modules:
            if isinstance(module, nn.Conv2d):
                fan_out = module.weight[0, 0].numel() * module.out_channels / module.groups
                nn.init.normal_(module.weight, std=(2.0 / fan_out) ** 0.5)
