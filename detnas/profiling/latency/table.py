"""Measures a latency table: the time of every op of every block at its place in a network.

An op that runs alone in a loop finds its weights and input in the cache. So networks run in pieces, with a timestamp
after every block: its input was just written by the block before, its weights were evicted by the rest of the network.

The times of pieces do not add up to that of the network: passing a feature map between two separate models takes time,
and on a busy machine a sum of medians is below the median of sums. This excess per block does not depend on the ops. It
is measured with whole networks that together contain every op of every block once, subtracted, and reported.

Further whole networks run in the same rounds, under the same load of the device. They check the sums of the table.
"""

from collections import Counter
from statistics import median

import numpy as np
import torch
from torch import Tensor

from detnas.distributed.device import device_name
from detnas.models.backbone import Subnet
from detnas.models.supernet import Supernet
from detnas.profiling.latency.backends import Backend, Runner, rounds, time_parts
from detnas.profiling.latency.check import LatencyCheck, select_architectures
from detnas.spaces import LatencyTable, SearchSpace
from detnas.utils.seeds import derive_seed


@torch.inference_mode()
def measure_table(space: SearchSpace, images: Tensor, backend: Backend) -> tuple[LatencyTable, float, LatencyCheck]:
    """Measure every op of every block on `images` (1, 3, H, W). Equal blocks share the median of all their times.

    Returns the table, the excess in microseconds that was subtracted from every block, and a check of the table with
    whole networks over the range of latencies.
    """
    pieces = _Pieces(space, images, backend)
    for is_measured in (False, True):
        pieces.run(is_measured)
    selected = select_architectures(space, pieces.table(excess=0))
    fair = space.fair_draw(pieces.rng)
    wholes = [backend.load(Subnet(space, one).eval(), images) for one in (*fair, *selected)]
    times = [list[float]() for _ in wholes]
    for is_measured in rounds():
        pieces.run(is_measured)
        for whole, whole_times in zip(wholes, times, strict=True):
            elapsed = time_parts(backend, whole, pieces.input)
            if is_measured:
                whole_times += elapsed
    medians = np.array([median(whole_times) for whole_times in times])
    stem, rows = pieces.medians()
    in_pieces = sum(stem + sum(row[op] for row, op in zip(rows, one.ops, strict=True)) for one in fair)
    excess = (in_pieces - float(medians[: len(fair)].sum())) / (len(fair) * len(rows))
    table = pieces.table(excess)
    costs = space.cost_table(latencies=table)
    predicted = np.array([costs.cost(one).latency for one in selected], np.float64)
    return table, excess, LatencyCheck(selected, predicted, medians[len(fair) :])


class _Pieces:
    """The stem and every op of every block as separate models, with their times."""

    def __init__(self, space: SearchSpace, images: Tensor, backend: Backend) -> None:
        self.space = space
        self.images = images
        self.backend = backend
        self.input = backend.prepare_input(images)
        self.rng = np.random.default_rng(derive_seed(0, "latency"))
        self.stem_times: list[float] = []
        self.times = {
            (block, op): list[float]() for block, ops in zip(space.blocks, space.allowed_ops, strict=True) for op in ops
        }
        supernet = Supernet(space).eval()
        (self.stem,) = backend.load(supernet.stem, images)
        self.ops: list[dict[int, Runner]] = []
        x = supernet.stem(images)
        for copies in Counter(space.blocks).values():
            # Equal blocks are consecutive, and the first of them represents all.
            choice = supernet.choices[len(self.ops)]
            loaded = {op: backend.load(choice.ops[op], x, copies) for op in space.allowed_ops[len(self.ops)]}
            self.ops += [{op: runs[copy] for op, runs in loaded.items()} for copy in range(copies)]
            x = choice(x)

    def run(self, is_measured: bool) -> None:
        """Run every op of every block once, and keep the times if the round is measured."""
        for path in self.space.fair_draw(self.rng):
            chain = [self.stem, *(runs[op] for runs, op in zip(self.ops, path.ops, strict=True))]
            stem, *blocks = time_parts(self.backend, chain, self.input)
            if is_measured:
                self.stem_times.append(stem)
                for block, op, taken in zip(self.space.blocks, path.ops, blocks, strict=True):
                    self.times[block, op].append(taken)

    def medians(self) -> tuple[float, list[dict[int, float]]]:
        """The median microseconds of the stem, and of the allowed ops of each block."""
        rows = [
            {op: median(self.times[block, op]) for op in ops}
            for block, ops in zip(self.space.blocks, self.space.allowed_ops, strict=True)
        ]
        return median(self.stem_times), rows

    def table(self, excess: float) -> LatencyTable:
        """The table of the medians, less `excess` microseconds per block."""
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
