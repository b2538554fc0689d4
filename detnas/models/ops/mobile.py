"""The ops of the mobile spaces: what they cost, where they may stand, and what builds them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from detnas.models.ops.layer_style import LayerStyle
from detnas.spaces.block import Block
from detnas.spaces.cost import Cost, Size, conv_cost, halved

if TYPE_CHECKING:
    from torch import nn

    from detnas.models.ops.shuffle import Shuffle


@dataclass(frozen=True)
class MBConvOp:
    """An `OpSpec`: MobileNetV2's inverted residual block, which EfficientNet calls MBConv, without
    squeeze-and-excitation."""

    expansion: int
    """Inner channels over input channels."""
    kernel: int
    """Side of the depthwise convolution."""
    style: LayerStyle

    def build(self, block: Block, shuffle: "Shuffle") -> "nn.Module":
        from detnas.models.ops.mbconv import MBConv  # costs are counted without waiting for torch

        return MBConv(block, self.expansion, self.kernel, self.style)

    def cost(self, block: Block, size: Size) -> Cost:
        """Mirrors `detnas.models.ops.mbconv.MBConv`, from formulas."""
        inner = block.in_channels * self.expansion
        strided = halved(size) if block.stride == 2 else size
        depthwise = conv_cost(self.kernel**2 * inner, inner, strided)
        projection = conv_cost(inner * block.out_channels, block.out_channels, strided)
        expansion = conv_cost(block.in_channels * inner, inner, size) if self.expansion > 1 else Cost(0, 0)
        return expansion + depthwise + projection

    def is_allowed(self, block: Block) -> bool:
        return True

    def seed(self, op: "nn.Module", native: "nn.Module") -> None:
        """From another MBConv, see `detnas.models.ops.mbconv_seeding`."""
        from detnas.models.ops.mbconv_seeding import seed_mbconv

        seed_mbconv(op, native)


@dataclass(frozen=True)
class SkipOp:
    """An `OpSpec`: the block is left out."""

    def build(self, block: Block, shuffle: "Shuffle") -> "nn.Module":
        from torch import nn

        return nn.Identity()

    def cost(self, block: Block, size: Size) -> Cost:
        return Cost(0, 0)

    def is_allowed(self, block: Block) -> bool:
        """Where the map's size and channels do not change."""
        return block.stride == 1 and block.in_channels == block.out_channels

    def seed(self, op: "nn.Module", native: "nn.Module") -> None:
        """It has no weights."""
