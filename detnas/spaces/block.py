"""A place of a network where an op is chosen."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """One place of the network where an op is chosen, with the channels of its input and output."""

    stage: int
    """Index of the stage that the block belongs to, from 0."""
    in_channels: int
    out_channels: int
    stride: int
    """2 where the map's sides are halved, which the first block of a stage may do, else 1."""
