"""Search spaces: their blocks, and the ops that each can be."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from itertools import accumulate, islice, pairwise
from math import prod
from operator import mul

import numpy as np

from detnas.spaces.architecture import MOST_BLOCKS, MOST_OPS, PAPER_OPS, Architecture, group
from detnas.spaces.block import NO_CHOICE, Block, HeadSpace
from detnas.spaces.cost import Cost, CostTable, Size, halved, to_size
from detnas.spaces.latency import REMEDY, LatencyTable
from detnas.spaces.ops import allowed_ops, family_table, find_family, op_cost, op_table
from detnas.utils.errors import UserError, suggestion
from detnas.utils.import_string import IMPORT_STRING
from detnas.utils.text import NAME, NAME_RULE, describe_value

MOST_CHANNELS = 2**16
"""Of any map: far beyond every network, and costs of so many still fit into 64 bits."""
MOST_STAGES = 8
MOST_RESOLUTION = 8192

MOBILE_OPS = ("mbconv6_k3", "mbconv6_k5", "mbconv3_k3", "mbconv3_k5", "skip")
"""The ops of the mobile spaces."""
NAMED_FAMILIES = ("shufflenet", "efficientnet-lite")
"""Those of the named spaces. They and the named spaces' ops are not looked up in the tables, whose modules import this
one."""


@dataclass(frozen=True)
class SearchSpace:
    """A stem of stride 2, and stages of choice blocks.

    Stage i has `repeats[i]` blocks of `channels[i]` channels, the first of stride `stage_strides[i]`. The last stage of
    each resolution gives a map, see `map_channels` and `strides`. Each block can be each of `ops` that is allowed
    there: names of `detnas.models.ops.OPS`, and custom ops, subclasses of `detnas.CustomOp` as `package.module:Class`.
    Custom ops are imported when they are first asked for.

    Raises `UserError` if widths are no multiples of 4, exceed `MOST_CHANNELS` or, with ops of the paper, do not rise,
    if a stage has no block or another stride than 1 or 2, for more than `MOST_STAGES` stages or `MOST_BLOCKS` blocks,
    for a name that cannot be one (`NAME`), for an unknown family, or if `ops` are not one to ten such names, each once.
    Whatever depends on which ops are allowed raises it for a custom op that cannot be imported, and for a block at
    which none of `ops` is allowed.
    """

    name: str
    """Its name in weights files and messages."""
    stem: int
    """Channels of the stem's map."""
    channels: tuple[int, ...]
    repeats: tuple[int, ...]
    ops: tuple[str, ...] = PAPER_OPS
    """The ops among which each block chooses; an op's index here is its digit in architectures."""
    stage_strides: tuple[int, ...] = ()
    """Of the first block of each stage, 1 or 2; 2 in every stage if it is empty."""
    first_block: int | None = None
    """Channels of a fixed block after the stem's convolution, which counts as part of the stem; None: there is none."""
    family: str = "shufflenet"
    """What the networks share outside their choice blocks, a name of `detnas.models.families.FAMILIES`."""
    resolutions: tuple[int, ...] = ()
    """The resolutions of which an architecture has one: shorter sides in pixels of the images that its detector sees,
    rising. Empty: there is no choice."""
    head: HeadSpace = NO_CHOICE
    """What the detector's head can be."""

    def __post_init__(self) -> None:
        if not self.stage_strides:
            object.__setattr__(self, "stage_strides", (2,) * len(self.channels))
        if max(len(self.channels), len(self.repeats)) > MOST_STAGES:
            raise UserError(f"a space of {len(self.channels):,} stages: write at most {MOST_STAGES}")
        self._check_numbers()
        if list(self.resolutions) != sorted({side for side in self.resolutions if 0 < side <= MOST_RESOLUTION}):
            raise UserError(
                f"space {self.name}: resolutions {describe_value(list(self.resolutions))} must rise, from 1 to "
                f"{MOST_RESOLUTION} pixels"
            )
        if not NAME.fullmatch(self.name):
            raise UserError(f"space {describe_value(self.name)}: its name cannot be one; write {NAME_RULE}")
        if self.family not in NAMED_FAMILIES and self.family not in family_table():
            raise UserError(
                f"space {self.name}: family {describe_value(self.family)} is unknown; choose from "
                f"{', '.join(family_table())}"
            )
        if self.first_block is not None and self.family == "shufflenet":
            raise UserError(
                f"space {self.name}: first_block {self.first_block}: networks of family shufflenet have none; leave it "
                "out, or choose another family"
            )
        self._check_ops()

    def _check_numbers(self) -> None:
        widths = self.stem, *self._widths
        shown = f"space {self.name}: widths {describe_value(widths)}"
        if any(width % 4 or width < 4 for width in widths):
            raise UserError(f"{shown} must be multiples of 4")
        if max(widths) > MOST_CHANNELS:
            raise UserError(f"{shown} must be at most {MOST_CHANNELS}")
        # The paper's ops of stride 2 keep their input's channels in the projection, and add others.
        if set(self.ops) & set(PAPER_OPS) and any(wide >= next_wide for wide, next_wide in pairwise(self._widths)):
            raise UserError(f"{shown}: each stage must be wider than the one before it")
        if len(self.repeats) != len(self.channels) or min(self.repeats, default=0) < 1:
            raise UserError(
                f"space {self.name}: repeats {describe_value(self.repeats)} must be 1 or more, one for each stage"
            )
        if sum(self.repeats) > MOST_BLOCKS:
            raise UserError(f"space {self.name}: repeats {describe_value(self.repeats)} exceed {MOST_BLOCKS} in all")
        if len(self.stage_strides) != len(self.channels) or not set(self.stage_strides) <= {1, 2}:
            raise UserError(
                f"space {self.name}: stage_strides {describe_value(self.stage_strides)} must be 1 or 2, one for each "
                "stage"
            )

    def _check_ops(self) -> None:
        if not 1 <= len(self.ops) <= MOST_OPS or len(set(self.ops)) < len(self.ops):
            raise UserError(
                f"space {self.name}: ops {describe_value(list(self.ops))} must be one to {MOST_OPS}, each named once"
            )
        for op in self.ops:
            is_named = op in PAPER_OPS or op in MOBILE_OPS
            if not is_named and not IMPORT_STRING.fullmatch(op) and op not in op_table():
                raise UserError(
                    f"space {self.name}: op {describe_value(op)} is unknown; choose from {', '.join(op_table())}, or "
                    "name a class of yours as package.module:Class"
                )

    @property
    def _widths(self) -> tuple[int, ...]:
        """Channels of the stem's map and of each stage's."""
        return (self.stem_channels, *self.channels)

    @property
    def stem_channels(self) -> int:
        """Channels of the map that the first choice block takes."""
        return self.stem if self.first_block is None else self.first_block

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All choice blocks from input to output."""
        return tuple(
            Block(stage, self._widths[stage], channels, stride)
            if repeat == 0
            else Block(stage, channels, channels, stride=1)
            for stage, (channels, repeats, stride) in enumerate(
                zip(self.channels, self.repeats, self.stage_strides, strict=True)
            )
            for repeat in range(repeats)
        )

    @property
    def map_stages(self) -> list[int]:
        """The stages that give a map: the last of each resolution."""
        return [stage for stage, follower in enumerate((*self.stage_strides[1:], 2)) if follower == 2]

    @property
    def map_blocks(self) -> list[int]:
        """After how many choice blocks each map is taken."""
        return [sum(self.repeats[: stage + 1]) for stage in self.map_stages]

    @property
    def map_channels(self) -> list[int]:
        """Channels of each map."""
        return [self.channels[stage] for stage in self.map_stages]

    @property
    def output_strides(self) -> list[int]:
        """Stride of each stage's output in pixels of the image."""
        return [2 * stride for stride in accumulate(self.stage_strides, mul)]

    @property
    def strides(self) -> list[int]:
        """Stride of each map in pixels of the image."""
        return [self.output_strides[stage] for stage in self.map_stages]

    @property
    def backbones(self) -> "SearchSpace":
        """The space of the backbones alone, without a choice of the resolution and of the head."""
        return replace(self, resolutions=(), head=NO_CHOICE)

    @property
    def resolution_choices(self) -> tuple[int | None, ...]:
        """What an architecture's resolution can be."""
        return self.resolutions or (None,)

    @property
    def size(self) -> int:
        """The number of architectures in the space."""
        return prod(map(len, self.choices))

    @cached_property
    def choices(self) -> tuple[tuple[int, ...], ...]:
        """All that an architecture chooses, as `encode` gives it: of `resolutions`, if there are any, of `ops` at each
        block from input to output, and of the head's at each convolution, the indices that are allowed."""
        resolutions = (tuple(range(len(self.resolutions))),) if self.resolutions else ()
        return resolutions + self.allowed_ops + self.head.allowed_ops

    def encode(self, architecture: Architecture) -> tuple[int, ...]:
        """The index of each of an architecture's `choices`."""
        side = architecture.resolution
        resolution = () if side is None else (self.resolutions.index(side),)
        return resolution + architecture.ops + architecture.head_ops

    def decode(self, chosen: Sequence[int]) -> Architecture:
        """The architecture with these indices of the `choices`."""
        left = iter(chosen)
        resolution = self.resolutions[next(left)] if self.resolutions else None
        backbone = self.architecture(list(islice(left, sum(self.repeats))))
        return replace(backbone, resolution=resolution, head=self.head.group(list(left)))

    @cached_property
    def allowed_ops(self) -> tuple[tuple[int, ...], ...]:
        """The indices of the ops that each block can be, from input to output."""
        return allowed_ops(self.ops, self.blocks)

    def allows(self, architecture: Architecture) -> bool:
        """Whether every block of an architecture of this space's shape is an op that is allowed there."""
        return all(op in allowed for op, allowed in zip(self.encode(architecture), self.choices, strict=True))

    def architecture(self, ops: Sequence[int]) -> Architecture:
        """The backbone with these op indices, from input to output. Raises `UserError` unless one a block."""
        if len(ops) != sum(self.repeats):
            raise UserError(f"space {self.name} has {sum(self.repeats)} blocks, but {len(ops)} ops were given")
        return Architecture(group(map(int, ops), self.repeats))

    def around(self, backbone: Architecture, resolution: int) -> Architecture:
        """The architecture with a `backbone`, the first op that every convolution of the head can be, and
        `resolution`, as far as there is a choice."""
        side = resolution if self.resolutions else None
        return replace(backbone, resolution=side, head=self.head.uniform(0))

    def draw(self, rng: np.random.Generator) -> Architecture:
        """An architecture, uniformly at random."""
        chosen = rng.integers([len(allowed) for allowed in self.choices]).tolist()
        return self.decode([allowed[index] for allowed, index in zip(self.choices, chosen, strict=True)])

    def fair_draw(self, rng: np.random.Generator) -> list[Architecture]:
        """As many random architectures as there are ops, all at one resolution, which together contain every op of
        every block exactly once. At a block that can be fewer ops, and at a convolution of the head, each of them is
        contained equally often, up to a remainder that is drawn."""
        number = len(self.ops)
        columns = []
        for ops in self.choices[1 if self.resolutions else 0 :]:
            times, rest = divmod(number, len(ops))
            columns.append([*ops * times, *(rng.choice(ops, rest, replace=False) if rest else ())])
        orders = rng.permuted(np.array(columns), axis=1)
        resolution = [int(rng.integers(len(self.resolutions)))] if self.resolutions else []
        return [self.decode([*resolution, *ops.tolist()]) for ops in orders.T]

    def uniform(self, op: str) -> Architecture:
        """The backbone whose every block is `op`. Raises `UserError` unless it is one of `ops`, allowed at each."""
        if op not in self.ops:
            raise UserError(f"op {op!r} is unknown; {suggestion(op, self.ops)}")
        architecture = self.architecture([self.ops.index(op)] * sum(self.repeats))
        self.backbones.check(architecture)
        return architecture

    def check(self, architecture: Architecture) -> None:
        """Raise `UserError` unless the architecture has this space's blocks in each stage, each an op allowed there,
        and one of its resolutions."""
        shape = tuple(len(stage) for stage in architecture.stages)
        if shape != self.repeats:
            raise UserError(
                f"architecture {architecture} has {shape} blocks a stage, but space {self.name} has {self.repeats}"
            )
        if architecture.resolution not in self.resolution_choices:
            choices = " or ".join(f"{side} |" for side in self.resolutions)
            remedy = f"begin it with {choices}" if choices else "leave its resolution out, the space has no choice"
            raise UserError(f"architecture {architecture}: {remedy}")
        if max(architecture.ops) >= len(self.ops):
            raise UserError(
                f"architecture {architecture}: op {max(architecture.ops)} is not one of 0-{len(self.ops) - 1}, the ops "
                f"of space {self.name}"
            )
        for index, (op, allowed) in enumerate(zip(architecture.ops, self.allowed_ops, strict=True)):
            if op not in allowed:
                raise UserError(
                    f"architecture {architecture}: op {op} ({self.ops[op]}) is not allowed at block {index} of space "
                    f"{self.name}; choose from {', '.join(map(str, allowed))}"
                )
        self._check_head(architecture)

    def _check_head(self, architecture: Architecture) -> None:
        shape, wanted = tuple(map(len, architecture.head)), tuple(map(len, self.head.towers))
        if shape != wanted:
            remedy = "leave out what follows the plus" if not wanted else "end it with a plus and one digit for each"
            raise UserError(
                f"architecture {architecture} chooses {shape or 'no'} convolutions of the head, but space {self.name} "
                f"leaves {wanted or 'none'} to choose; {remedy}"
            )
        for op, allowed in zip(architecture.head_ops, self.head.allowed_ops, strict=True):
            if op not in allowed:
                raise UserError(
                    f"architecture {architecture}: op {op} is not allowed at a convolution of the head; choose from "
                    f"{', '.join(map(str, allowed))}"
                )

    def cost_table(self, size: int | Size = 224, latencies: LatencyTable | None = None) -> CostTable:
        """Costs of stem and every (block, op) for an image of `size` pixels, height and width, or one side of a square,
        with measured latencies, which are those of their own size, if given.
        Raises `UserError` if these do not fit the space, or a side is below 1."""
        return _cost_table(self, to_size(size), latencies)

    def cost(self, architecture: Architecture, size: int | Size = 224) -> Cost:
        """MACs and parameters of stem and blocks for one image of `size` pixels, height and width, or one side of a
        square. Raises `UserError` if the architecture does not fit the space, or a side is below 1."""
        self.check(architecture)
        return self.cost_table(size).cost(architecture)


@lru_cache(maxsize=64)
def _cost_table(space: SearchSpace, size: Size, latencies: LatencyTable | None) -> CostTable:
    if min(size) < 1:
        raise UserError(f"size {min(size)} of an input to space {space.name}: must be 1 pixel or more")
    if latencies is not None:
        _check_latencies(space, latencies)
    stem: Cost = find_family(space.family).stem_cost(space, size)
    cost_of = cache(op_cost)
    map_size = halved(size)
    rows: list[dict[int, Cost]] = []
    for index, (block, allowed) in enumerate(zip(space.blocks, space.allowed_ops, strict=True)):
        row = {op: cost_of(space.ops[op], block, map_size) for op in allowed}
        if latencies is not None:
            row = {op: replace(cost, latency=latencies.of(index, op)) for op, cost in row.items()}
        rows.append(row)
        if block.stride == 2:
            map_size = halved(map_size)
    return CostTable(size, replace(stem, latency=latencies.stem_us if latencies else 0), tuple(rows))


def _check_latencies(space: SearchSpace, latencies: LatencyTable) -> None:
    """Raise `UserError` unless the table has a latency of every op that `space` allows at each block, and no other."""
    known = tuple(tuple(op for op, one in enumerate(row) if one is not None) for row in latencies.blocks_us)
    if (latencies.space, len(known)) != (space.name, len(space.blocks)):
        reason = (
            f"a table of space {latencies.space} ({len(known)} blocks) does not fit space {space.name} "
            f"({len(space.blocks)} blocks)"
        )
    elif latencies.ops != space.ops:
        reason = (
            f"a table of the ops {', '.join(latencies.ops)} does not fit space {space.name} with {', '.join(space.ops)}"
        )
    elif len(set(zip(space.blocks, latencies.blocks_us, strict=True))) > len(set(space.blocks)):
        # The sampler takes equal blocks for interchangeable.
        reason = f"equal blocks of space {space.name} have different rows"
    elif known != space.allowed_ops:
        reason = f"has no latency of an op that space {space.name} allows, or has one of an op that it does not"
    else:
        return
    raise UserError(f"budget.latencies: {reason}; {REMEDY}")
