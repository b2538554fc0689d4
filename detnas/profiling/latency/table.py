"""The table: every (block, op) timed where it stands in a network.

An op alone in a loop finds its weights and its input in the cache, which in a network it does not. So whole networks
run in pieces, with a stamp of the clock between two blocks: each block works on what the one before it just wrote, with
weights that the rest of the network has driven out of the cache.

Pieces still do not add up to a network: handing a map from one piece to the next takes time where each is a model of
its own, and on a busy machine a sum of medians is below the median of sums. What this comes to a block does not depend
on the ops. It is found on the networks of one fair draw, in which every op of every block stands once, run as wholes;
it is taken off every block, and told.

Other whole networks run in the same rounds, so that whatever else the device does in the meantime hits all alike: the
sums are checked against these.
"""

from collections import Counter
from statistics import median

import numpy as np
import torch
from torch import Tensor

from detnas.distributed.device import device_name
from detnas.models.backbone import Subnet, Supernet
from detnas.profiling.latency.backends import Backend, Run, lap, rounds
from detnas.profiling.latency.check import Check, spread
from detnas.spaces import LatencyTable, SearchSpace
from detnas.utils.seeds import derive_seed


@torch.inference_mode()
def measure(space: SearchSpace, images: Tensor, backend: Backend) -> tuple[LatencyTable, float, Check]:
    """Time every (block, op) on `images` (1, 3, H, W); equal blocks share the median of all their times.

    Returns the table, the microseconds that were taken off every block since pieces take longer than wholes, and other
    networks, spread over the range of latencies, with their times as wholes.
    """
    pieces = _Pieces(space, images, backend)
    for counts in (False, True):
        pieces.run(counts)
    chosen = spread(space, pieces.table(excess=0))
    fair = space.fair_draw(pieces.rng)
    wholes = [backend.load(Subnet(space, one).eval(), images) for one in (*fair, *chosen)]
    times = [list[float]() for _ in wholes]
    for counts in rounds():
        pieces.run(counts)
        for whole, of_whole in zip(wholes, times, strict=True):
            taken = lap(backend, whole, pieces.given)
            if counts:
                of_whole += taken
    medians = np.array([median(of_whole) for of_whole in times])
    stem, rows = pieces.medians()
    in_pieces = sum(stem + sum(row[op] for row, op in zip(rows, one.ops, strict=True)) for one in fair)
    excess = (in_pieces - float(medians[: len(fair)].sum())) / (len(fair) * len(rows))
    table = pieces.table(excess)
    costs = space.cost_table(latencies=table)
    predicted = np.array([costs.cost(one.ops).latency for one in chosen], np.float64)
    return table, excess, Check(chosen, predicted, medians[len(fair) :])


class _Pieces:
    """The stem and every op of every block, each to be run on its own, and the times that they took."""

    def __init__(self, space: SearchSpace, images: Tensor, backend: Backend) -> None:
        self.space = space
        self.images = images
        self.backend = backend
        self.given = backend.input(images)
        self.rng = np.random.default_rng(derive_seed(0, "latency"))
        self.stem_times: list[float] = []
        self.times = {
            (block, op): list[float]() for block, ops in zip(space.blocks, space.allowed_ops, strict=True) for op in ops
        }
        supernet = Supernet(space).eval()
        (self.stem,) = backend.load(supernet.stem, images)
        self.ops: list[dict[int, Run]] = []
        x = supernet.stem(images)
        for copies in Counter(space.blocks).values():
            # Equal blocks follow one another, and the first of them stands for all.
            choice = supernet.choices[len(self.ops)]
            loaded = {op: backend.load(choice.ops[op], x, copies) for op in space.allowed_ops[len(self.ops)]}
            self.ops += [{op: runs[copy] for op, runs in loaded.items()} for copy in range(copies)]
            x = choice(x)

    def run(self, counts: bool) -> None:
        """A round: every op of every block once. Keeps the times if it counts."""
        for path in self.space.fair_draw(self.rng):
            chain = [self.stem, *(runs[op] for runs, op in zip(self.ops, path.ops, strict=True))]
            stem, *blocks = lap(self.backend, chain, self.given)
            if counts:
                self.stem_times.append(stem)
                for block, op, taken in zip(self.space.blocks, path.ops, blocks, strict=True):
                    self.times[block, op].append(taken)

    def medians(self) -> tuple[float, list[dict[int, float]]]:
        """Microseconds of the stem, and of the ops that are allowed at each block."""
        rows = [
            {op: median(self.times[block, op]) for op in ops}
            for block, ops in zip(self.space.blocks, self.space.allowed_ops, strict=True)
        ]
        return median(self.stem_times), rows

    def table(self, excess: float) -> LatencyTable:
        """What they took, less `excess` microseconds a block."""
        stem, rows = self.medians()
        every = range(len(self.space.ops))
        return LatencyTable(
            space=self.space.name,
            height=self.images.shape[2],
            width=self.images.shape[3],
            device=device_name(self.backend.device),
            backend=self.backend.name,
            threads=self.backend.threads,
            stem_us=max(1, round(stem)),
            blocks_us=tuple(
                tuple(max(1, round(row[op] - excess)) if op in row else None for op in every) for row in rows
            ),
            ops=self.space.ops,
        )
