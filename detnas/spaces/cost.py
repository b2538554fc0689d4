"""What an architecture costs: an additive table over (block, op), without building a network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from detnas.spaces.architecture import KERNELS, OPS
from detnas.spaces.block import Block
from detnas.spaces.latency import LatencyTable
from detnas.utils.errors import UserError
from detnas.utils.import_string import import_object


@dataclass(frozen=True)
class Cost:
    """What a network costs, for one image."""

    macs: int
    """MACs of the convolutions, each counted as one, not as two."""
    params: int
    """Parameters: weights, and scales and shifts of BN."""
    latency: int = 0
    """Microseconds by a table of measured latencies; 0 without one."""

    def facts(self) -> dict[str, float]:
        """As files keep it; the latency, in milliseconds, where it is known."""
        known = {"latency_ms": self.latency / 1e3} if self.latency else {}
        return {"macs": self.macs, "params": self.params} | known

    def in_millions(self) -> str:
        """For people: 288.1M MACs, 1.85M params, and where the latency is known, 12.3 ms."""
        latency = f", {self.latency / 1e3:.3g} ms" if self.latency else ""
        return f"{self.macs / 1e6:.1f}M MACs, {self.params / 1e6:.2f}M params{latency}"


class CostTable:
    """Costs of the stem and of every (block, op), for square inputs of `size` pixels.

    `macs[b][o]`, `params[b][o]` and `latency[b][o]` belong to block b (from input to output) and op o of `ops`; `stem`
    to the stem. A network's cost is the stem's plus one entry a block. BN and activations cost no MACs. Latencies are
    those of `latencies`, in microseconds, for inputs of its own size.
    """

    def __init__(
        self,
        stem_channels: int,
        blocks: Sequence[Block],
        size: int,
        latencies: LatencyTable | None = None,
        ops: Sequence[str] = OPS,
    ) -> None:
        self.size = size
        resolution = _halved(size)
        self.stem = Cost(
            macs=3 * stem_channels * 9 * resolution**2,
            # The stem's convolution has a bias, redundant before BN, as the published networks have it.
            params=3 * stem_channels * 9 + stem_channels + 2 * stem_channels,
            latency=latencies.stem_us if latencies else 0,
        )
        costs: list[list[Cost]] = []
        known: dict[tuple[Block, str, int], Cost] = {}
        for block in blocks:
            for op in ops:
                if (block, op, resolution) not in known:
                    known[block, op, resolution] = _block_cost(block, op, resolution)
            costs.append([known[block, op, resolution] for op in ops])
            if block.stride == 2:
                resolution = _halved(resolution)
        self.macs = [[cost.macs for cost in row] for row in costs]
        self.params = [[cost.params for cost in row] for row in costs]
        self.latency = [list(row) for row in latencies.blocks_us] if latencies else [[0] * len(ops) for _ in costs]

    def extent(self, cost: str) -> tuple[int, int]:
        """The least and the most `cost` ("macs", "params", or "latency" in microseconds) that an architecture has."""
        stem, rows = getattr(self.stem, cost), getattr(self, cost)
        return stem + sum(map(min, rows)), stem + sum(map(max, rows))

    def cost(self, ops: Sequence[int]) -> Cost:
        """The cost of the architecture with these op indices, one a block from input to output."""
        macs, params, latency = self.stem.macs, self.stem.params, self.stem.latency
        for op, block_macs, block_params, block_latency in zip(ops, self.macs, self.params, self.latency, strict=True):
            macs += block_macs[op]
            params += block_params[op]
            latency += block_latency[op]
        return Cost(macs, params, latency)


def _halved(size: int) -> int:
    """The output size of a stride-2 convolution with padding kernel // 2."""
    return (size + 1) // 2


class _Counter:
    """Adds up the convolutions of one block at their resolutions."""

    def __init__(self, resolution: int) -> None:
        self.resolution = resolution
        self.macs = 0
        self.params = 0

    def depthwise(self, channels: int, kernel: int, stride: int = 1) -> None:
        if stride == 2:
            self.resolution = _halved(self.resolution)
        self._add(channels * kernel**2, channels)

    def pointwise(self, in_channels: int, out_channels: int) -> None:
        self._add(in_channels * out_channels, out_channels)

    def _add(self, weights: int, out_channels: int) -> None:
        self.macs += weights * self.resolution**2
        self.params += weights + 2 * out_channels


def _block_cost(block: Block, op: str, resolution: int) -> Cost:
    """Mirrors `detnas.models.ops.shuffle`; a test compares the two. Ops of users know what they cost."""
    if op not in OPS:
        counted: Cost = imported_op(op).cost(block, resolution)
        return counted
    middle = block.out_channels // 2
    main_in = block.in_channels if block.stride == 2 else block.in_channels // 2
    main_out = block.out_channels - main_in
    main = _Counter(resolution)
    kernel = KERNELS[op]
    if op == "xception":
        main.depthwise(main_in, 3, block.stride)
        main.pointwise(main_in, middle)
        main.depthwise(middle, 3)
        main.pointwise(middle, middle)
        main.depthwise(middle, 3)
        main.pointwise(middle, main_out)
    else:
        main.pointwise(main_in, middle)
        main.depthwise(middle, kernel, block.stride)
        main.pointwise(middle, main_out)
    projection = _Counter(resolution)
    if block.stride == 2:
        projection.depthwise(block.in_channels, kernel, stride=2)
        projection.pointwise(block.in_channels, block.in_channels)
    return Cost(main.macs + projection.macs, main.params + projection.params)


def imported_op(name: str) -> Any:
    """The class of an op that a user brings. Raises `UserError` if it cannot be imported, or is not made for that."""
    op = import_object(name, "space.ops")
    if not hasattr(op, "cost"):
        raise UserError(f"space.ops: {name} is no op that detnas could count; let it be a subclass of detnas.CustomOp")
    return op
