"""Measures a latency table: the time of every op of every block at its place in a network.

An op that runs alone in a loop finds its weights and input in the cache. So networks run in pieces, with a timestamp
after every block: its input was just written by the block before, its weights were evicted by the rest of the network.

The times of pieces do not add up to that of the network: passing a feature map between two separate models takes time,
and on a busy machine a sum of medians is below the median of sums. This excess per block does not depend on the ops. It
is measured with whole networks that together contain every op of every block once, subtracted, and reported.

Further whole networks run in the same rounds, under the same load of the device. They check the sums of the table.

Of a detector, two more pieces run: one prepares the image, and one has the pyramid, the heads and what is done after
them, in turn with each op that a convolution of the head can be. Whole detectors are as they are exported, for images
of any size, which takes longer than for one. All latencies are multiplied by how much longer.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detnas.distributed.device import device_name
from detnas.models.backbone import Subnet
from detnas.models.supernet import Supernet
from detnas.profiling.latency.around import DetectorAround
from detnas.profiling.latency.backends import Backend, Runner, rounds, time_parts
from detnas.profiling.latency.check import NUM_ARCHITECTURES, LatencyCheck, select_architectures
from detnas.spaces import Architecture, Budget, BudgetSampler, LatencyTable, SearchSpace
from detnas.utils.seeds import derive_seed


@dataclass(frozen=True)
class Correction:
    """How what pieces take becomes what they add to a whole network."""

    excess_us: float = 0.0
    """Subtracted from every block."""
    factor: float = 1.0
    """By which all is multiplied then; of backbones it is 1."""

    def describe(self) -> str:
        """Human-readable."""
        longer = self.excess_us > 0
        times = f"; whole detectors take {self.factor:.3f} times the sum, the factor of all" if self.factor != 1 else ""
        return (
            f"{abs(self.excess_us):.1f} us {'subtracted from' if longer else 'added to'} every block, since backbones "
            f"that run in pieces take {'longer' if longer else 'less'} than whole ones{times}"
        )


@torch.inference_mode()
def measure_table(
    space: SearchSpace,
    images: Tensor,
    backend: Backend,
    around: DetectorAround | None = None,
    checked: int = NUM_ARCHITECTURES,
) -> tuple[LatencyTable, Correction, LatencyCheck]:
    """Measure every op of every block on `images` (1, 3, H, W), and what is `around` the networks of the space, if it
    is given. Equal blocks share the median of all their times.

    Returns the table, how it was corrected, and a check of the table with up to `checked` whole networks over the range
    of latencies.
    """
    pieces = _Pieces(space, images, backend, around)
    for is_measured in (False, True):
        pieces.run(is_measured)
    selected = select_architectures(space, unbounded(pieces.table(Correction()), around), checked)
    fair = space.fair_draw(pieces.rng)
    backbones = [pieces.load_backbone(one) for one in fair]
    wholes = [*backbones, *(pieces.load_detector(one) for one in fair if around)]
    wholes += [(pieces.load_detector if around else pieces.load_backbone)(one) for one in selected]
    times = [list[float]() for _ in wholes]
    for is_measured in rounds():
        pieces.run(is_measured)
        for (run, given), whole_times in zip(wholes, times, strict=True):
            elapsed = time_parts(backend, [run], given)
            if is_measured:
                whole_times += elapsed
    medians = [median(whole_times) for whole_times in times]
    blocks = len(fair) * len(space.blocks)
    excess_us = (pieces.sum_of_backbones(fair) - sum(medians[: len(fair)])) / blocks
    factor = 1.0
    if around:
        sums = pieces.sum_of_backbones(fair) - excess_us * blocks + pieces.sum_around(fair)
        factor = sum(medians[len(fair) : 2 * len(fair)]) / sums
    correction = Correction(excess_us, factor)
    table = pieces.table(correction)
    sampler = BudgetSampler(space, unbounded(table, around))
    predicted = np.array([sampler.cost(one).latency for one in selected], np.float64)
    return table, correction, LatencyCheck(selected, predicted, np.array(medians[-len(selected) :]))


def unbounded(table: LatencyTable, around: DetectorAround | None) -> Budget:
    """No bounds, with the latencies of a table."""
    if around is None:
        return Budget(latencies=table)
    return Budget(detector={around.resolution: table.added_to(around.parts)})


class _Pieces:
    """The stem and every op of every block as separate models, with their times, and what is around them."""

    def __init__(self, space: SearchSpace, images: Tensor, backend: Backend, around: DetectorAround | None) -> None:
        self.space = space
        self.images = images
        self.backend = backend
        self.around = _Around(around, backend) if around else None
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
            loaded = {op: backend.load(choice.ops[op], x, copies=copies) for op in space.allowed_ops[len(self.ops)]}
            self.ops += [{op: runs[copy] for op, runs in loaded.items()} for copy in range(copies)]
            x = choice(x)

    def load_backbone(self, architecture: Architecture) -> tuple[Runner, Any]:
        """A whole backbone, and its input."""
        return self.backend.load(Subnet(self.space, architecture).eval(), self.images)[0], self.input

    def load_detector(self, architecture: Architecture) -> tuple[Runner, Any]:
        """A whole detector, and its input."""
        assert self.around is not None
        return self.backend.load_detector(self.around.of.detector(architecture)), self.around.input

    def run(self, is_measured: bool) -> None:
        """Run every op of every block once, and keep the times if the round is measured."""
        for path in self.space.fair_draw(self.rng):
            if self.around:
                self.around.run_before(is_measured)
            chain = [self.stem, *(runs[op] for runs, op in zip(self.ops, path.ops, strict=True))]
            stem, *blocks = time_parts(self.backend, chain, self.input)
            if self.around:
                self.around.run_after(is_measured)
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

    def sum_of_backbones(self, architectures: Sequence[Architecture]) -> float:
        """The sum of the medians over all pieces of all these backbones."""
        stem, rows = self.medians()
        return sum(stem + sum(row[op] for row, op in zip(rows, one.ops, strict=True)) for one in architectures)

    def sum_around(self, architectures: Sequence[Architecture]) -> float:
        """The same of what is around them."""
        assert self.around is not None
        fixed, rows = self.around.medians()
        return sum(fixed + sum(row[op] for row, op in zip(rows, one.head_ops, strict=True)) for one in architectures)

    def table(self, correction: Correction) -> LatencyTable:
        """The table of the medians, corrected."""
        excess, factor = correction.excess_us, correction.factor
        stem, rows = self.medians()
        fixed, head = self.around.medians() if self.around else (0.0, [])
        every = range(len(self.space.ops))
        return LatencyTable(
            space=self.space.name,
            height=self.images.shape[2],
            width=self.images.shape[3],
            device=device_name(self.backend.device),
            backend=self.backend.name,
            threads=self.backend.threads,
            stem_us=max(1, round(factor * stem)),
            blocks_us=tuple(
                tuple(max(1, round(factor * (row[op] - excess))) if op in row else None for op in every) for row in rows
            ),
            ops=self.space.ops,
            detector=self.around.of.recipe.timed_detector if self.around else None,
            detector_us=max(0, round(factor * fixed)),
            head_us=tuple(
                tuple(round(factor * row[op]) if op in row else None for op in range(max(row) + 1)) for row in head
            ),
        )


class _Around:
    """What is around the backbones, as models of which one prepares the image, and each of the others has other ops in
    the head."""

    def __init__(self, of: DetectorAround, backend: Backend) -> None:
        self.of = of
        self.backend = backend
        image = of.image.to(backend.device)
        self.input = backend.prepare_input(image)
        (self.before,) = backend.load(of.before(), image)
        self.before_times: list[float] = []
        self.variants = list(of.head_variants)
        self.times = [list[float]() for _ in self.variants]
        self.turns = cycle(range(len(self.variants)))
        backbone = of.space.fair_draw(np.random.default_rng(0))[0]
        self.after = [self._load(of.with_head(backbone, ops)) for ops in self.variants]

    def _load(self, architecture: Architecture) -> Runner:
        """The rest of a detector, with maps of its backbone that it always gets."""
        detector = self.of.detector(architecture)
        maps = [x.to(self.backend.device) for x in self.of.maps(detector)]
        (run,) = self.backend.load(self.of.after(detector), *maps)
        return partial(run, *map(self.backend.prepare_input, maps))

    def run_before(self, is_measured: bool) -> None:
        (elapsed,) = time_parts(self.backend, [self.before], self.input)
        if is_measured:
            self.before_times.append(elapsed)

    def run_after(self, is_measured: bool) -> None:
        turn = next(self.turns)
        (elapsed,) = time_parts(self.backend, [lambda _: self.after[turn]()], None)
        if is_measured:
            self.times[turn].append(elapsed)

    def medians(self) -> tuple[float, list[dict[int, float]]]:
        """The median microseconds of what is the same in all detectors, and of what each op of each convolution of the
        head adds, at least 0."""
        usual, *others = [median(times) for times in self.times]
        rows = [dict.fromkeys(ops, 0.0) for ops in self.of.space.head.allowed_ops]
        for ops, taken in zip(self.variants[1:], others, strict=True):
            places = self.of.head_variants[ops]
            for place, op in places:
                rows[place][op] = (taken - usual) / len(places)
        least = [min(row.values()) for row in rows]
        above = [{op: one - low for op, one in row.items()} for row, low in zip(rows, least, strict=True)]
        return median(self.before_times) + usual + sum(least), above
