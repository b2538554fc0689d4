"""The ops of the paper's search spaces: what they cost, and what builds them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from detnas.spaces.block import Block
from detnas.spaces.cost import Cost, halved

if TYPE_CHECKING:
    from detnas.models.ops.shuffle import Op, Shuffle


@dataclass(frozen=True)
class PaperOp:
    """An `OpSpec`: a ShuffleNetV2 block with a kernel of `kernel` pixels, or its variant with Xception's units."""

    kernel: int
    """Side of the depthwise convolutions."""
    is_xception: bool = False

    def build(self, block: Block, shuffle: "Shuffle") -> "Op":
        from detnas.models.ops.shuffle import Op  # costs are counted without waiting for torch

        return Op(block, self.kernel, self.is_xception, shuffle)

    def cost(self, block: Block, size: int) -> Cost:
        """Mirrors `detnas.models.ops.shuffle`, from formulas."""
        middle = block.out_channels // 2
        main_in = block.in_channels if block.stride == 2 else block.in_channels // 2
        main_out = block.out_channels - main_in
        main = _Counter(size)
        if self.is_xception:
            main.depthwise(main_in, self.kernel, block.stride)
            main.pointwise(main_in, middle)
            main.depthwise(middle, self.kernel)
            main.pointwise(middle, middle)
            main.depthwise(middle, self.kernel)
            main.pointwise(middle, main_out)
        else:
            main.pointwise(main_in, middle)
            main.depthwise(middle, self.kernel, block.stride)
            main.pointwise(middle, main_out)
        projection = _Counter(size)
        if block.stride == 2:
            projection.depthwise(block.in_channels, self.kernel, stride=2)
            projection.pointwise(block.in_channels, block.in_channels)
        return Cost(main.macs + projection.macs, main.params + projection.params)

    def is_allowed(self, block: Block) -> bool:
        """At every block: the paper's spaces rely on it."""
        return True


class _Counter:
    """Adds up the convolutions of one branch at their resolutions."""

    def __init__(self, resolution: int) -> None:
        self.resolution = resolution
        self.macs = 0
        self.params = 0

    def depthwise(self, channels: int, kernel: int, stride: int = 1) -> None:
        if stride == 2:
            self.resolution = halved(self.resolution)
        self._add(channels * kernel**2, channels)

    def pointwise(self, in_channels: int, out_channels: int) -> None:
        self._add(in_channels * out_channels, out_channels)

    def _add(self, weights: int, out_channels: int) -> None:
        self.macs += weights * self.resolution**2
        self.params += weights + 2 * out_channels
