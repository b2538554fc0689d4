"""A place of a network where an op is chosen."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """One place of the network where an op is chosen: channels in and out, and the stride (1 or 2)."""

    stage: int
    in_channels: int
    out_channels: int
    stride: int
