"""The drawing of an architecture on the page: the position of each block."""

from collections.abc import Sequence
from dataclasses import dataclass

from detnas.models.ops import OPS, MBConvOp, ShuffleOp, SkipOp
from detnas.spaces import PAPER_OPS, Architecture, SearchSpace
from detnas.spaces.space import MOBILE_OPS
from detnas.utils.errors import UserError

COLUMNS = 8
BLOCK_WIDTH, BLOCK_HEIGHT, GAP, HEADING = 76, 58, 12, 34
SKIP = "skip"
COLORED = {*PAPER_OPS, *MOBILE_OPS} - {SKIP}
"""The ops for which the page has a color."""


@dataclass(frozen=True)
class DrawnBlock:
    """A block: its upper left corner in pixels, op (empty in the stem), stride, and what is written in it."""

    x: int
    y: int
    op: str
    stride: int
    label: str
    caption: str
    text: str
    """What it is, in words."""

    @property
    def style(self) -> str:
        """The class by which the page colors it."""
        return style(self.op) if self.op else "stem"


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
        return f"{self.title} ({self.note}): {', '.join(block.text for block in self.blocks)}."


@dataclass(frozen=True)
class Drawing:
    """A drawing of a backbone, and of what is chosen of the head: stages, and sizes in pixels."""

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

    @property
    def has_expansions(self) -> bool:
        """Whether ops are in it whose caption says their expansion."""
        return any(isinstance(OPS.get(op), MBConvOp) for op in self.ops)

    def style(self, op: str) -> str:
        """The class by which the page colors an op."""
        return style(op)

    @property
    def text(self) -> str:
        """The drawing as text, for screen readers."""
        return " ".join(stage.text for stage in self.stages)


def style(op: str) -> str:
    """The class by which the page colors an op."""
    if op == SKIP:
        return "left-out"
    match OPS.get(op):
        case ShuffleOp(kernel=kernel, is_xception=False):
            return f"shuffle{kernel}"  # of every width
    return op if op in COLORED else "custom"


def draw(architecture: str, space: SearchSpace) -> Drawing | None:
    """The drawing of an architecture of `space`, given as text; None if the text is no architecture of it."""
    try:
        parsed = Architecture.parse(architecture)
    except UserError:
        return None
    # `SearchSpace.check` would import custom ops, which need not be installed where the page is written.
    if tuple(map(len, parsed.stages)) != space.repeats or max(parsed.ops) >= len(space.ops):
        return None
    if (
        tuple(map(len, parsed.head)) != tuple(map(len, space.head.towers))
        or parsed.resolution not in space.resolution_choices
    ):
        return None
    y = HEADING
    image = "the image's size" if parsed.resolution is None else f"the size of images with {parsed.resolution} pixels"
    stages = [DrawnStage("Stem", f"{space.stem_channels} channels, 1/2 of {image}", y, _stem(space, y))]
    y += BLOCK_HEIGHT + GAP
    stages_of_space = zip(parsed.stages, space.channels, space.output_strides, strict=True)
    for index, (ops, channels, output_stride) in enumerate(stages_of_space):
        y += HEADING
        note = f"{channels} channels, 1/{output_stride}"
        if index not in space.map_stages:
            note += f", as in stage {index + 2}"
        strides = (space.stage_strides[index], *[1] * (len(ops) - 1))
        blocks = [
            _block(number, y, space.ops[op], op, stride)
            for number, (op, stride) in enumerate(zip(ops, strides, strict=True))
        ]
        stages.append(DrawnStage(f"Stage {index + 1}", note, y, blocks))
        y += -(-len(ops) // COLUMNS) * (BLOCK_HEIGHT + GAP)
    for index, tower in enumerate(parsed.head, start=1):
        y += HEADING
        blocks = [_head_block(number, y, space.head.ops[op]) for number, op in enumerate(tower)]
        stages.append(DrawnStage("Head", f"tower {index} of {len(parsed.head)}", y, blocks))
        y += -(-len(tower) // COLUMNS) * (BLOCK_HEIGHT + GAP)
    return Drawing(stages, y, space.ops)


def _stem(space: SearchSpace, y: int) -> list[DrawnBlock]:
    """The stem's convolution, and its fixed block if there is one."""
    blocks = [DrawnBlock(0, y, "", 2, _kernel(3), "conv", "convolution 3x3")]
    if space.first_block is not None:
        blocks.append(DrawnBlock(BLOCK_WIDTH + GAP, y, "", 1, _kernel(3), "mbconv1", "mbconv1_k3 (fixed)"))
    return blocks


def _block(number: int, y: int, op: str, digit: int, stride: int) -> DrawnBlock:
    """The block at place `number` of a stage whose first row is at `y`."""
    label, caption = _words(op, digit)
    text = f"{op} (left out)" if op == SKIP else op
    return DrawnBlock(*_corner(number, y), op, stride, label, caption, text)


def _head_block(number: int, y: int, op: str) -> DrawnBlock:
    """The convolution at place `number` of a tower of the head whose first row is at `y`."""
    if op == SKIP:
        return DrawnBlock(*_corner(number, y), op, 1, op, "", "skip (left out)")
    style = "" if op == "full" else op
    return DrawnBlock(*_corner(number, y), style, 1, _kernel(3), op, f"{op} convolution 3x3")


def _corner(number: int, y: int) -> tuple[int, int]:
    row, column = divmod(number, COLUMNS)
    return column * (BLOCK_WIDTH + GAP), y + row * (BLOCK_HEIGHT + GAP)


def _words(op: str, digit: int) -> tuple[str, str]:
    """What is written in a block, large and small: the kernel and the kind of op, if they are known."""
    match OPS.get(op):
        case ShuffleOp(kernel=kernel, is_xception=is_xception, width=width):
            kind = "xception" if is_xception else "shuffle"
            return _kernel(kernel), kind if width == 1 else f"width {width:g}"
        case MBConvOp(kernel=kernel, expansion=expansion):
            return _kernel(kernel), f"mbconv{expansion}"
        case SkipOp():
            return op, ""
    return str(digit), op.rpartition(":")[2][:12]  # the letters that fit into a block


def _kernel(side: int) -> str:
    return f"{side}×{side}"  # noqa: RUF001
