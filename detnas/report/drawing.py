"""The drawing of an architecture on the page: the position of each block."""

from collections.abc import Sequence
from dataclasses import dataclass

from detnas.models.ops import OPS, PaperOp
from detnas.spaces import PAPER_OPS, Architecture, SearchSpace
from detnas.utils.errors import UserError

COLUMNS = 8
BLOCK_WIDTH, BLOCK_HEIGHT, GAP, HEADING = 76, 58, 12, 34


@dataclass(frozen=True)
class DrawnBlock:
    """A block: its upper left corner in pixels, op (empty for the stem), kernel size (if known), stride, and digit."""

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
        name = self.op.rpartition(":")[2][:12]  # the letters that fit into a block
        return name if self.kernel is None else name.rstrip("0123456789")  # the label says the kernel


@dataclass(frozen=True)
class DrawnStage:
    """A stage: its heading, its position from the top in pixels, and its blocks in rows of at most COLUMNS."""

    title: str
    note: str
    y: int
    blocks: Sequence[DrawnBlock]

    @property
    def text(self) -> str:
        """The stage as text, for screen readers."""
        ops = ", ".join(block.op or f"convolution {block.kernel}x{block.kernel}" for block in self.blocks)
        return f"{self.title} ({self.note}): {ops}."


@dataclass(frozen=True)
class Drawing:
    """A drawing of a backbone: its stages, and sizes in pixels."""

    stages: Sequence[DrawnStage]
    height: int
    space_ops: Sequence[str]
    width: int = COLUMNS * (BLOCK_WIDTH + GAP)
    block_width: int = BLOCK_WIDTH
    block_height: int = BLOCK_HEIGHT

    @property
    def ops(self) -> Sequence[str]:
        """The ops in the drawing, in the order of their digits."""
        used = {block.op for stage in self.stages for block in stage.blocks}
        return [op for op in self.space_ops if op in used]

    def style(self, op: str) -> str:
        """The class by which the page colors an op, or the stem where `op` is empty."""
        return (op if op in PAPER_OPS else "custom") if op else "stem"

    @property
    def text(self) -> str:
        """The drawing as text, for screen readers."""
        return " ".join(stage.text for stage in self.stages)


def draw(architecture: str, space: SearchSpace) -> Drawing | None:
    """The drawing of an architecture of `space`, given as text; None if the text is no architecture of it."""
    try:
        parsed = Architecture.parse(architecture)
    except UserError:
        return None
    # `SearchSpace.check` would import custom ops, which need not be installed where the page is written.
    if tuple(map(len, parsed.stages)) != space.repeats or max(parsed.ops) >= len(space.ops):
        return None
    y = HEADING
    stages = [DrawnStage("Stem", f"{space.stem} channels, 1/2 of the image's size", y, [DrawnBlock(0, y, "", 3, 2)])]
    y += BLOCK_HEIGHT + GAP
    maps = zip(parsed.stages, space.channels, space.strides, strict=True)
    for index, (ops, channels, stride) in enumerate(maps, start=1):
        y += HEADING
        blocks = [
            DrawnBlock(
                x=number % COLUMNS * (BLOCK_WIDTH + GAP),
                y=y + number // COLUMNS * (BLOCK_HEIGHT + GAP),
                op=space.ops[op],
                kernel=spec.kernel if isinstance(spec := OPS.get(space.ops[op]), PaperOp) else None,
                stride=2 if number == 0 else 1,
                digit=op,
            )
            for number, op in enumerate(ops)
        ]
        stages.append(DrawnStage(f"Stage {index}", f"{channels} channels, 1/{stride}", y, blocks))
        y += -(-len(ops) // COLUMNS) * (BLOCK_HEIGHT + GAP)
    return Drawing(stages, y, space.ops)
