"""An architecture: one op for each block of a search space."""

from dataclasses import dataclass

from detnas.errors import UserError

KERNELS = {"shuffle3": 3, "shuffle5": 5, "shuffle7": 7, "xception": 3}
"""Kernel size of the depthwise convolutions of every op."""

OPS = tuple(KERNELS)
"""The candidate operations; the index of a name here is the digit that stands for it."""


@dataclass(frozen=True, order=True)
class Architecture:
    """One op for each block, stage by stage. Immutable, hashable and ordered.

    `str(architecture)` gives the digits stage by stage, `"2120 2112 33130031 3132"`, and `parse` reads them back.
    Raises `UserError` for an op outside 0-3.
    """

    stages: tuple[tuple[int, ...], ...]
    """A tuple a stage, and in it an op index a block: 0, 1 and 2 are shuffle blocks with kernels of 3, 5 and 7 pixels,
    3 is the Xception-like one (`detnas.spaces.OPS`)."""

    def __post_init__(self) -> None:
        for op in self.ops:
            if not 0 <= op < len(OPS):
                raise UserError(f"architecture {self.stages}: op {op} is not one of 0-{len(OPS) - 1}")

    @classmethod
    def parse(cls, text: str) -> "Architecture":
        """Read digits grouped by stage. Raises `UserError` on anything but the digits 0-3 and blanks."""
        if not text.strip() or not set(text) <= set("0123 "):
            raise UserError(f"architecture {text!r}: write one digit 0-3 a block, stages apart by a blank")
        return cls(tuple(tuple(int(digit) for digit in stage) for stage in text.split()))

    @property
    def ops(self) -> tuple[int, ...]:
        """The op indices of all blocks, from input to output."""
        return tuple(op for stage in self.stages for op in stage)

    @property
    def hyphenated(self) -> str:
        """The text as the name of a folder: `2120-2112-33130031-3132`."""
        return str(self).replace(" ", "-")

    def __str__(self) -> str:
        return " ".join("".join(str(op) for op in stage) for stage in self.stages)
