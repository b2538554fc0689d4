"""Custom ops, which users bring beside those of detnas's table or in their place."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from detnas.models.ops.shuffle import Shuffle
from detnas.spaces.block import Block
from detnas.spaces.cost import Cost, Size
from detnas.utils.errors import UserError


class CustomOp(nn.Module):
    """Base class of a custom op: derive a class from it, and name that class in `space.ops` of a recipe, or in
    `SearchSpace.ops`, as `package.module:Class`.

    A subclass is made as `Class(in_channels, out_channels, stride)`, with channels that are multiples of 4 and a stride
    of 1 or 2, and maps (N, in_channels, H, W) float to (N, out_channels, ceil(H / stride), ceil(W / stride)). It
    starts with the weights of its own constructor: the recipe's `init` applies to detnas's ops only. Its BN layers are
    recalibrated for each candidate like all others.
    """

    @classmethod
    def build(cls, block: Block, shuffle: Shuffle) -> "CustomOp":
        """The op at `block`, with fresh weights. `shuffle` is for the paper's ops."""
        make: Any = cls
        op: CustomOp = make(block.in_channels, block.out_channels, block.stride)
        return op

    @classmethod
    def is_allowed(cls, block: Block) -> bool:
        """Whether the op may stand at `block`. Override it for an op that cannot be built everywhere, for example
        because its output has the channels and the size of its input. The result must be the same for equal blocks."""
        return True

    @classmethod
    def seed(cls, op: nn.Module, native: nn.Module) -> None:
        """Overwrite the weights of `op` from `native`, the block of a trained network at the same place. By default it
        keeps those of its constructor."""

    @classmethod
    def cost(cls, block: Block, size: Size) -> Cost:
        """MACs at input maps of `size`, height and width, batch 1, and parameters of the op at `block`.

        The op is built and run on PyTorch's meta device, which has shapes and no data. Convolutions and matrix products
        are counted by torch.utils.flop_counter, a MAC as one. Override it for an op that cannot run there, or has other
        costs. Raises `UserError` if the op cannot run there, or returns a map of another shape.
        """
        name = f"space.ops: {cls.__module__}:{cls.__qualname__}"
        place = f"{block.in_channels} to {block.out_channels} channels, stride {block.stride}"
        expected = (1, block.out_channels, *(-(-side // block.stride) for side in size))
        try:
            with torch.device("meta"):
                op = cls.build(block, "even_odd").eval()
                x = torch.empty(1, block.in_channels, *size)
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                found = tuple(op(x).shape)
        except Exception as error:  # a user's code may raise anything
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UserError(
                f"{name} cannot be counted as an op of {place} ({reason}); fix it, or override its classmethod "
                "cost(block, size)"
            ) from None
        if found != expected:
            raise UserError(f"{name} gives {found} as an op of {place} at {size[0]}x{size[1]}; it must be {expected}")
        return Cost(counter.get_total_flops() // 2, sum(parameter.numel() for parameter in op.parameters()))


def own_modules(module: nn.Module) -> Iterator[nn.Module]:
    """The modules inside `module`, innermost first, without those of custom ops."""
    for child in module.children():
        if not isinstance(child, CustomOp):
            yield from own_modules(child)
    yield module
