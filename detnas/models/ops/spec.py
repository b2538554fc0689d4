"""What an op is, as the rest of detnas sees it."""

from typing import TYPE_CHECKING, Protocol

from detnas.spaces.block import Block
from detnas.spaces.cost import Cost, Size

if TYPE_CHECKING:  # counting costs needs no torch
    from torch import nn

    from detnas.models.ops.shuffle import Shuffle


class OpSpec(Protocol):
    """An op that blocks can be: a line of `detnas.models.ops.OPS`, or a custom op's class."""

    def build(self, block: Block, shuffle: "Shuffle") -> "nn.Module":
        """The op at `block`, with fresh weights: (N, block.in_channels, H, W) float to (N, block.out_channels,
        ceil(H / block.stride), ceil(W / block.stride)). `shuffle` says how the paper's ops split channels."""

    def cost(self, block: Block, size: Size) -> Cost:
        """MACs and parameters of the op at `block`, for an input map of `size`, batch 1."""

    def is_allowed(self, block: Block) -> bool:
        """Whether the op may stand at `block`. It is the same for equal blocks."""

    def seed(self, op: "nn.Module", native: "nn.Module") -> None:
        """Overwrite the weights of `op`, built at some block, from those of `native`, the block of a trained network at
        the same place. Raises `ValueError`, with the reason, if that is not possible."""
