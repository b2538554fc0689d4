"""The paper's ops, and narrower and wider ones: what they cost, where they may stand, and what builds them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from detnas.spaces.block import Block
from detnas.spaces.cost import Cost, Size, conv_cost, halved, total

if TYPE_CHECKING:
    from torch import nn

    from detnas.models.ops.shuffle import Op, Shuffle


@dataclass(frozen=True)
class ShuffleOp:
    """An `OpSpec`: a ShuffleNetV2 block with a kernel of `kernel` pixels, or its variant with Xception's units."""

    kernel: int
    """Side of the depthwise convolutions."""
    is_xception: bool = False
    width: float = 1.0
    """Inner channels of the main branch over half of the output's. It is 1 in the paper."""

    def build(self, block: Block, shuffle: "Shuffle") -> "Op":
        from detnas.models.ops.shuffle import Op  # costs are counted without waiting for torch

        return Op(block, self.kernel, self.is_xception, self.width, shuffle)

    def cost(self, block: Block, size: Size) -> Cost:
        """Mirrors `detnas.models.ops.shuffle`, from formulas."""
        middle = round(self.width * block.out_channels / 2)
        main_in = block.in_channels if block.stride == 2 else block.in_channels // 2
        main_out = block.out_channels - main_in
        strided = halved(size) if block.stride == 2 else size

        def depthwise(channels: int) -> Cost:
            return conv_cost(channels * self.kernel**2, channels, strided)

        def pointwise(channels: int, out_channels: int, size: Size = strided) -> Cost:
            return conv_cost(channels * out_channels, out_channels, size)

        if self.is_xception:
            layers = [depthwise(main_in), pointwise(main_in, middle), depthwise(middle), pointwise(middle, middle)]
        else:
            layers = [pointwise(main_in, middle, size)]
        layers += [depthwise(middle), pointwise(middle, main_out)]
        if block.stride == 2:
            layers += [depthwise(block.in_channels), pointwise(block.in_channels, block.in_channels)]
        return total(layers)

    def is_allowed(self, block: Block) -> bool:
        """Where the channels stay the same, or where the map is halved and gets more, which is at every block of the
        paper's spaces."""
        more = block.out_channels - block.in_channels
        return more == 0 if block.stride == 1 else more > 0

    def seed(self, op: "nn.Module", native: "nn.Module") -> None:
        raise ValueError("cannot begin with weights of a mobile network")
