"""An architecture: one op for each block of a search space."""

from dataclasses import dataclass

from detnas.errors import UserError

KERNELS = {"shuffle3": 3, "shuffle5": 5, "shuffle7": 7, "xception": 3}
"""Kernel size of the depthwise convolutions of every op."""

OPS = tuple(KERNELS)
"""The candidate operations; the index of a name here is the digit that stands for it."""


@dataclass(frozen=True, order=True)
class Architecture:
    """One op index (0-3, see `OPS`) for each block, stage by stage. Immutable and hashable.

    `str(architecture)` gives the digits stage by stage, `"2120 2112 33130031 3132"`, and `parse` reads them back.
    """

    stages: tuple[tuple[int, ...], ...]

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
