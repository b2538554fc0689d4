"""The cost of an architecture, from an additive table over (block, op), without building a network."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from detnas.spaces.architecture import PAPER_OPS
from detnas.spaces.block import Block
from detnas.spaces.latency import LatencyTable
from detnas.spaces.ops import allowed_ops, find_op


@dataclass(frozen=True)
class Cost:
    """A network's cost for one image."""

    macs: int
    """MACs (multiply-accumulate operations, which papers call FLOPs) of the convolutions."""
    params: int
    """Parameters, those of BN included."""
    latency: int = 0
    """Microseconds by a table of measured latencies; 0 without one."""

    def facts(self) -> dict[str, float]:
        """The numbers as JSON files have them, with the latency, in milliseconds, where it is known."""
        known = {"latency_ms": self.latency / 1e3} if self.latency else {}
        return {"macs": self.macs, "params": self.params} | known

    def in_millions(self) -> str:
        """Human-readable: 288.1M MACs, 1.85M params, and where the latency is known, 12.3 ms."""
        latency = f", {self.latency / 1e3:.3g} ms" if self.latency else ""
        return f"{self.macs / 1e6:.1f}M MACs, {self.params / 1e6:.2f}M params{latency}"


def cost_of_layers(layers: Iterable[tuple[int, int, int]]) -> Cost:
    """The cost of convolutions without bias, each with BN: weights, output channels, and side of the output."""
    listed = list(layers)
    macs = sum(weights * side**2 for weights, _, side in listed)
    return Cost(macs, sum(weights + 2 * channels for weights, channels, _ in listed))


class CostTable:
    """Costs of the stem and of every (block, op), for square inputs of `size` pixels.

    `macs[b][o]`, `params[b][o]` and `latency[b][o]` are the costs of op o of `ops` at block b (from input to output),
    for every op that is allowed there; `stem` is that of the stem. A network's cost is the stem's plus one entry a
    block. BN and activations cost no MACs. Latencies are those of `latencies`, in microseconds, for inputs of its size.
    """

    def __init__(
        self,
        stem: Cost,
        blocks: Sequence[Block],
        size: int,
        latencies: LatencyTable | None = None,
        ops: Sequence[str] = PAPER_OPS,
    ) -> None:
        self.size = size
        resolution = halved(size)
        self.stem = replace(stem, latency=latencies.stem_us if latencies else 0)
        cost_of = cache(lambda op, block, resolution: find_op(op).cost(block, resolution))
        costs: list[dict[int, Cost]] = []
        for block, allowed in zip(blocks, allowed_ops(ops, blocks), strict=True):
            costs.append({op: cost_of(ops[op], block, resolution) for op in allowed})
            if block.stride == 2:
                resolution = halved(resolution)
        self.macs = [{op: cost.macs for op, cost in row.items()} for row in costs]
        self.params = [{op: cost.params for op, cost in row.items()} for row in costs]
        self.latency = [{op: latencies.of(b, op) if latencies else 0 for op in row} for b, row in enumerate(costs)]

    def extent(self, cost: str) -> tuple[int, int]:
        """The least and the most `cost` ("macs", "params", or "latency" in microseconds) that an architecture has."""
        stem: int = getattr(self.stem, cost)
        rows: list[dict[int, int]] = getattr(self, cost)
        return stem + sum(min(row.values()) for row in rows), stem + sum(max(row.values()) for row in rows)

    def cost(self, ops: Sequence[int]) -> Cost:
        """The cost of the architecture with these op indices, one a block from input to output, all of them allowed."""
        macs, params, latency = self.stem.macs, self.stem.params, self.stem.latency
        for op, block_macs, block_params, block_latency in zip(ops, self.macs, self.params, self.latency, strict=True):
            macs += block_macs[op]
            params += block_params[op]
            latency += block_latency[op]
        return Cost(macs, params, latency)


def halved(size: int) -> int:
    """The output size of a stride-2 convolution with padding kernel // 2."""
    return (size + 1) // 2
