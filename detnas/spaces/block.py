"""Places of a network where an op is chosen."""

from collections.abc import Sequence
from dataclasses import dataclass

from detnas.spaces.architecture import group


@dataclass(frozen=True)
class Block:
    """One place of the network where an op is chosen, with the channels of its input and output."""

    stage: int
    """Index of the stage that the block belongs to, from 0."""
    in_channels: int
    out_channels: int
    stride: int
    """2 where the map's sides are halved, which the first block of a stage may do, else 1."""


@dataclass(frozen=True)
class HeadSpace:
    """What the convolutions of a detector's head can be. Without towers there is no choice."""

    ops: tuple[str, ...]
    """Names of ops; an op's index here is its digit in architectures."""
    towers: tuple[tuple[tuple[int, ...], ...], ...]
    """Of each convolution of each tower, from input to output, the indices of the ops that it can be."""

    @property
    def allowed_ops(self) -> tuple[tuple[int, ...], ...]:
        """Those of all convolutions, tower by tower."""
        return tuple(allowed for tower in self.towers for allowed in tower)

    def uniform(self, op: int) -> tuple[tuple[int, ...], ...]:
        """Every convolution the op with this index, or where it cannot be that the first that it can be."""
        return self.group([op if op in allowed else allowed[0] for allowed in self.allowed_ops])

    def group(self, ops: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """The op of each convolution, by tower."""
        return group(ops, map(len, self.towers))


NO_CHOICE = HeadSpace((), ())
