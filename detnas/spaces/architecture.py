"""An architecture: one op for each block of a search space, and what else a space leaves to choose."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from detnas.utils.errors import UserError
from detnas.utils.text import describe_value

PAPER_OPS = ("shuffle3", "shuffle5", "shuffle7", "xception")
"""The ops of the paper's search spaces, and of every other space that does not name its own; in these the index of a
name is the digit that stands for it. Frozen: an op that is added to detnas does not widen these spaces."""

MOST_BLOCKS = 200
"""Of a network: far more than any has, and so few that an architecture's text can be the name of a folder."""
MOST_LETTERS = 1000
"""Of an architecture's text."""
MOST_OPS = 10
"""The most ops that a space has: each has a digit."""
_TEXT = re.compile(r"(?a: *((?P<resolution>\d{1,4}) *\|)? *(?P<stages>\d+( +\d+)*) *(\+ *(?P<head>\d+( +\d+)*) *)?)")


@dataclass(frozen=True, order=True)
class Architecture:
    """One op index for each block, stage by stage: its place in `SearchSpace.ops`. Immutable, hashable and ordered.

    `str(architecture)` gives the digits stage by stage, `"2120 2112 33130031 3132"`, after the resolution and before
    the ops of the head if it has any, `"256 | 2120 2112 33130031 3132 + 01 02"`, and `parse` reads them back. Raises
    `UserError` for an index that is not a digit. `SearchSpace.check` checks it against a space.
    """

    stages: tuple[tuple[int, ...], ...]
    """A tuple a stage, and in it an op index a block. Among the paper's ops (`detnas.spaces.PAPER_OPS`), 0, 1 and 2 are
    shuffle blocks with kernels of 3, 5 and 7 pixels, 3 is the Xception-like one."""
    resolution: int | None = None
    """The shorter side in pixels of the images that its detector sees; None where a space leaves no choice."""
    head: tuple[tuple[int, ...], ...] = ()
    """A tuple a tower of the detector's head, and in it an op index a convolution: its place in `HeadSpace.ops`. Empty
    where a space leaves no choice."""

    def __post_init__(self) -> None:
        for op in (*self.ops, *self.head_ops):
            if not 0 <= op < MOST_OPS:
                raise UserError(f"architecture {describe_value(self.stages)}: op {op} is not one of 0-{MOST_OPS - 1}")

    @classmethod
    def parse(cls, text: str) -> "Architecture":
        """Read digits grouped by stage, after a resolution and a bar, and before a plus and the digits of the head, if
        there are any. Raises `UserError` on anything else."""
        if len(text) > MOST_LETTERS or not (found := _TEXT.fullmatch(text)):
            raise UserError(
                f"architecture {describe_value(text)}: write one digit 0-9 for each block, and a blank between stages"
            )
        stages, head = (_digits(found[part] or "") for part in ("stages", "head"))
        return cls(stages, int(found["resolution"]) if found["resolution"] else None, head)

    @property
    def ops(self) -> tuple[int, ...]:
        """The op indices of all blocks, from input to output."""
        return tuple(op for stage in self.stages for op in stage)

    @property
    def head_ops(self) -> tuple[int, ...]:
        """The op indices of all convolutions of the head, tower by tower."""
        return tuple(op for tower in self.head for op in tower)

    @property
    def hyphenated(self) -> str:
        """The text as a folder's name: `2120-2112-33130031-3132`, or `256_2120-2112-33130031-3132_01-02`."""
        return str(self).replace(" | ", "_").replace(" + ", "_").replace(" ", "-")

    def __str__(self) -> str:
        before = "" if self.resolution is None else f"{self.resolution} | "
        return before + _text(self.stages) + (f" + {_text(self.head)}" if self.head else "")


def group(values: Iterable[int], sizes: Iterable[int]) -> tuple[tuple[int, ...], ...]:
    """`values` in groups of these sizes."""
    left = iter(values)
    return tuple(tuple(islice(left, size)) for size in sizes)


def _digits(text: str) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(digit) for digit in group) for group in text.split())


def _text(groups: tuple[tuple[int, ...], ...]) -> str:
    return " ".join("".join(str(op) for op in group) for group in groups)
