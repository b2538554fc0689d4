"""The cost of an architecture, from an additive table over (block, op), without building a network."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from detnas.spaces.architecture import Architecture

if TYPE_CHECKING:
    from detnas.spaces.latency import LatencyTable

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class Cost:
    """A network's cost for one image, or that of a part of it."""

    macs: int
    """MACs (multiply-accumulate operations, which papers call FLOPs) of convolutions and matrix products."""
    params: int
    """Parameters, those of BN included."""
    latency: int = 0
    """Microseconds by a table of measured latencies; 0 without one."""

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.macs + other.macs, self.params + other.params, self.latency + other.latency)

    def facts(self) -> dict[str, float]:
        """The numbers as JSON files have them, with the latency, in milliseconds, where it is known."""
        known = {"latency_ms": self.latency / 1e3} if self.latency else {}
        return {"macs": self.macs, "params": self.params} | known

    def in_millions(self) -> str:
        """Human-readable: 288.1M MACs, 1.85M params, and where the latency is known, 12.3 ms."""
        latency = f", {self.latency / 1e3:.3g} ms" if self.latency else ""
        return f"{self.macs / 1e6:.1f}M MACs, {self.params / 1e6:.2f}M params{latency}"


NOTHING = Cost(0, 0)


@dataclass(frozen=True)
class DetectorParts:
    """What a detector costs besides its backbone, for an image of `size`: the same for all backbones of a space."""

    size: Size
    pyramid: Cost
    heads: Cost
    """Of the heads without what an architecture chooses of them."""
    head_rows: tuple[Mapping[int, Cost], ...] = ()
    """Of each convolution of the head that an architecture chooses, the cost of every op that it can be."""
    latencies: "LatencyTable | None" = None
    """The table of which the latencies of these parts are, and those of the backbones."""


@dataclass(frozen=True)
class CostTable:
    """Costs of the stem and of every (block, op) for images of `size`, and of the detector around them if it counts.

    A network's cost is the sum of the stem's, one entry a block, the detector's parts, and one entry a convolution of
    the head that is chosen. Norms and activations cost no MACs.
    """

    size: Size
    stem: Cost
    rows: tuple[Mapping[int, Cost], ...]
    """Of each block from input to output, the cost of every op that is allowed there, by the op's index."""
    detector: DetectorParts | None = None

    @cached_property
    def fixed(self) -> Cost:
        """What all networks of the table have in common."""
        return self.stem + self.detector.pyramid + self.detector.heads if self.detector else self.stem

    @property
    def chosen_rows(self) -> tuple[Mapping[int, Cost], ...]:
        """Those of the blocks, and then of the head."""
        return self.rows + (self.detector.head_rows if self.detector else ())

    def of(self, cost: str) -> list[dict[int, int]]:
        """The `cost` ("macs", "params", or "latency" in microseconds) of every op in `chosen_rows`."""
        return [{op: getattr(entry, cost) for op, entry in row.items()} for row in self.chosen_rows]

    def extent(self, cost: str) -> tuple[int, int]:
        """The least and the most `cost` ("macs", "params", or "latency" in microseconds) that a network has."""
        fixed: int = getattr(self.fixed, cost)
        rows = self.of(cost)
        return fixed + sum(min(row.values()) for row in rows), fixed + sum(max(row.values()) for row in rows)

    def cost(self, architecture: Architecture) -> Cost:
        """The cost of the network of an architecture of the space, all of whose ops are allowed."""
        return total(self.parts(architecture).values())

    def parts(self, architecture: Architecture) -> dict[str, Cost]:
        """The same by part of the network: backbone, pyramid and heads, as far as they count."""
        backbone = sum((row[op] for op, row in zip(architecture.ops, self.rows, strict=True)), self.stem)
        if self.detector is None:
            return {"backbone": backbone}
        chosen = zip(architecture.head_ops, self.detector.head_rows, strict=True)
        heads = sum((row[op] for op, row in chosen), self.detector.heads)
        return {"backbone": backbone, "pyramid": self.detector.pyramid, "heads": heads}


def conv_cost(weights: int, channels: int, size: Size, *, is_normed: bool = True) -> Cost:
    """The cost of a convolution of so many weights whose output has `channels` and `size`: with a norm of its output,
    or else with a bias."""
    return Cost(weights * size[0] * size[1], weights + (2 if is_normed else 1) * channels)


def total(costs: Iterable[Cost]) -> Cost:
    return sum(costs, NOTHING)


def format_shares(macs: Mapping[str, int]) -> str:
    """What share each part has of the MACs of all: backbone 43%, pyramid 8%, heads 49%."""
    whole = sum(macs.values())
    return ", ".join(f"{part} {own / whole:.0%}" for part, own in macs.items())


def to_size(size: int | Size) -> Size:
    """Height and width, also of a square by its side."""
    return (size, size) if isinstance(size, int) else size


def halved(size: Size) -> Size:
    """The output size of a stride-2 convolution with padding kernel // 2."""
    return (size[0] + 1) // 2, (size[1] + 1) // 2
