"""Ops that users bring, beside those of `blocks.py` or in their place."""

from typing import Any, Protocol, cast

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from detnas.models.ops.shuffle import Op, Shuffle
from detnas.spaces.architecture import OPS
from detnas.spaces.block import Block
from detnas.spaces.cost import Cost, imported_op
from detnas.utils.errors import UserError


class CustomOp(nn.Module):
    """Base of an op that you bring: derive a class from it, and name that class in `space.ops` of a recipe, or in
    `SearchSpace.ops`, as `package.module:Class`.

    A subclass is made as `Class(in_channels, out_channels, stride)`, with channels that are multiples of 4 and a stride
    of 1 or 2, and maps (N, in_channels, H, W) float to (N, out_channels, ceil(H / stride), ceil(W / stride)). It
    begins with the weights that it gives itself: the recipe's `init` is for detnas's ops.
    BN layers in it are recalibrated for each candidate as all others are.
    """

    @classmethod
    def cost(cls, block: Block, size: int) -> Cost:
        """MACs at inputs of `size` x `size` pixels, batch 1, and parameters of the op in the place `block`.

        It is built and run on shapes alone (PyTorch's meta device); convolutions and matrix products are counted, as by
        torch.utils.flop_counter, a MAC as one. Override it for what runs no such way, or counts otherwise.
        Raises `UserError` if it cannot be run so, or gives a map of another shape.
        """
        name = f"space.ops: {cls.__module__}:{cls.__qualname__}"
        wanted = (1, block.out_channels, *[-(-size // block.stride)] * 2)
        try:
            with torch.device("meta"):
                op = _make(cls, block).eval()
                x = torch.empty(1, block.in_channels, size, size)
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                found = tuple(op(x).shape)
        except Exception as error:  # a user's code may raise anything
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UserError(
                f"{name} cannot be counted as an op of {_said(block)} ({reason}); fix it, or override its classmethod "
                "cost(block, size)"
            ) from None
        if found != wanted:
            raise UserError(f"{name} gives {found} as an op of {_said(block)} at {size}x{size}; it must be {wanted}")
        return Cost(counter.get_total_flops() // 2, sum(parameter.numel() for parameter in op.parameters()))


class _Maker(Protocol):
    def __call__(self, in_channels: int, out_channels: int, stride: int) -> CustomOp: ...


def make_op(name: str, block: Block, shuffle: Shuffle) -> Op | CustomOp:
    """The op `name` of a space in the place `block`, with fresh weights.

    Raises `UserError` if it is a user's and cannot be imported, or is not derived from `CustomOp`.
    """
    return Op(name, block, shuffle) if name in OPS else _make(op_class(name), block)


def op_class(name: str) -> type[CustomOp]:
    """A user's op, imported. Raises `UserError` as `make_op` does."""
    op: Any = imported_op(name)
    if not (isinstance(op, type) and issubclass(op, CustomOp)):
        raise UserError(f"space.ops: {name} is no subclass of detnas.CustomOp; derive it from that")
    return op


def _make(op: type[CustomOp], block: Block) -> CustomOp:
    return cast(_Maker, op)(block.in_channels, block.out_channels, block.stride)


def _said(block: Block) -> str:
    return f"{block.in_channels} to {block.out_channels} channels, stride {block.stride}"
