"""Where each block of an architecture stands in its drawing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detnas.models.ops import OPS, PaperOp
from detnas.spaces import PAPER_OPS, Architecture, SearchSpace, search_space
from detnas.utils.errors import UserError

COLUMNS = 8
CAPTION = 12
"""Letters that fit into a block."""
BLOCK_WIDTH, BLOCK_HEIGHT, GAP, HEADING = 76, 58, 12, 34
WIDTH = COLUMNS * (BLOCK_WIDTH + GAP)


@dataclass(frozen=True)
class DrawnBlock:
    """A block's corner, op, the op's digit, and stride; the stem's op is empty. `kernel` is None but for paper ops."""

    x: int
    y: int
    op: str
    kernel: int | None
    stride: int
    digit: int = 0

    @property
    def label(self) -> str:
        return f"{self.kernel}×{self.kernel}" if self.kernel else str(self.digit)  # noqa: RUF001

    @property
    def caption(self) -> str:
        if not self.op:
            return "conv"
        own = self.op.rpartition(":")[2][:CAPTION]
        return own if self.kernel is None else "xception" if self.op == "xception" else "shuffle"


@dataclass(frozen=True)
class DrawnStage:
    """A stage's heading, the height at which it stands, and its blocks in rows of at most COLUMNS."""

    title: str
    note: str
    y: int
    blocks: Sequence[DrawnBlock]

    @property
    def text(self) -> str:
        """The stage in words."""
        ops = ", ".join(block.op or f"convolution {block.kernel}x{block.kernel}" for block in self.blocks)
        return f"{self.title} ({self.note}): {ops}."


@dataclass(frozen=True)
class Drawing:
    """All that the template needs to draw a backbone."""

    stages: Sequence[DrawnStage]
    height: int
    space_ops: Sequence[str] = PAPER_OPS
    width: int = WIDTH
    block_width: int = BLOCK_WIDTH
    block_height: int = BLOCK_HEIGHT

    @property
    def ops(self) -> Sequence[str]:
        """The ops that occur, in the order of their indices."""
        used = {block.op for stage in self.stages for block in stage.blocks}
        return [op for op in self.space_ops if op in used]

    @property
    def text(self) -> str:
        """The drawing in words."""
        return " ".join(stage.text for stage in self.stages)


def draw(architecture: str, space: Mapping[str, Any]) -> Drawing | None:
    """The drawing of an architecture of the `space` of a recipe; None when the text is not one."""
    names = tuple(space.get("ops") or PAPER_OPS)
    try:
        stages = Architecture.parse(architecture).stages
    except UserError:
        return None
    if max(map(max, stages)) >= len(names):
        return None
    known = _space(space, stages)
    y = HEADING
    stem_note = (f"{known.stem} channels, " if known else "") + "1/2 of the image's size"
    drawn = [DrawnStage("Stem", stem_note, y, [DrawnBlock(0, y, "", 3, 2)])]
    y += BLOCK_HEIGHT + GAP
    for index, ops in enumerate(stages):
        y += HEADING
        note = (f"{known.channels[index]} channels, " if known else "") + f"1/{4 * 2**index}"
        blocks = [
            DrawnBlock(
                x=place % COLUMNS * (BLOCK_WIDTH + GAP),
                y=y + place // COLUMNS * (BLOCK_HEIGHT + GAP),
                op=names[op],
                kernel=spec.kernel if isinstance(spec := OPS.get(names[op]), PaperOp) else None,
                stride=2 if place == 0 else 1,
                digit=op,
            )
            for place, op in enumerate(ops)
        ]
        drawn.append(DrawnStage(f"Stage {index + 1}", note, y, blocks))
        y += -(-len(ops) // COLUMNS) * (BLOCK_HEIGHT + GAP)
    return Drawing(drawn, y, names)


def _space(space: Mapping[str, Any], stages: Sequence[Sequence[int]]) -> SearchSpace | None:
    """The space with its channels, when the recipe names one that the architecture fits."""
    try:
        known = search_space(
            str(space.get("name")),
            float(space.get("width") or 1.0),
            **{part: space.get(part) for part in ("stem", "channels", "repeats")},
        )
    except (UserError, ValueError):
        return None
    return known if known.repeats == tuple(len(stage) for stage in stages) else None
