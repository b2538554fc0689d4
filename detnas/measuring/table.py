"""The table: every (block, op) timed where it stands in a network.

An op alone in a loop finds its weights and its input in the cache, and a sum of such times comes out too low. So whole
networks run, with a stamp of the clock between two blocks: each block works on what the one before it just wrote, with
weights that the rest of the network has driven out of the cache.
"""

from collections import Counter
from statistics import median

import numpy as np
import torch
from torch import Tensor

from detnas.device import device_name
from detnas.measuring.backends import Backend, Run, lap
from detnas.models.backbone import Supernet
from detnas.seeds import seed_of
from detnas.spaces import OPS, LatencyTable, SearchSpace

WARM_UP, TIMED = 2, 9
"""Rounds; in each, every op of every block runs once, in as many networks as there are ops."""


@torch.inference_mode()
def measure(space: SearchSpace, images: Tensor, backend: Backend) -> LatencyTable:
    """Time every (block, op) on `images` (1, 3, H, W). Equal blocks share the median of all their times."""
    stem, ops = _parts(space, images, backend)
    given = backend.input(images)
    rng = np.random.default_rng(seed_of(0, "latency"))
    stem_times: list[float] = []
    # By what makes blocks equal, and op.
    times = {(block, op): list[float]() for block in space.blocks for op in range(len(OPS))}
    for number in range(WARM_UP + TIMED):
        # Every op of every block exactly once, beside neighbours drawn anew.
        orders = rng.permuted(np.tile(np.arange(len(OPS)), (len(space.blocks), 1)), axis=1)
        for path in orders.T.tolist():
            first, *rest = lap(backend, [stem, *(runs[op] for runs, op in zip(ops, path, strict=True))], given)
            if number >= WARM_UP:
                stem_times.append(first)
                for block, op, taken in zip(space.blocks, path, rest, strict=True):
                    times[block, op].append(taken - backend.crossing)
    return LatencyTable(
        space=space.name,
        height=images.shape[2],
        width=images.shape[3],
        device=device_name(backend.device),
        backend=backend.name,
        threads=backend.threads,
        stem_us=_microseconds(stem_times),
        blocks_us=tuple(
            tuple(_microseconds(times[block, op]) for op in range(len(OPS)))  # type: ignore[misc]
            for block in space.blocks
        ),
    )


def _parts(space: SearchSpace, images: Tensor, backend: Backend) -> tuple[Run, list[tuple[Run, ...]]]:
    """The stem, and of each block its ops."""
    supernet = Supernet(space).eval()
    (stem,) = backend.load(supernet.stem, images)
    x = supernet.stem(images)
    loaded: list[tuple[Run, ...]] = []
    for copies in Counter(space.blocks).values():
        # Equal blocks follow one another, and the first of them stands for all.
        choice = supernet.choices[len(loaded)]
        of_each_op = [backend.load(choice.op(op), x, copies) for op in range(len(OPS))]
        loaded += zip(*of_each_op, strict=True)
        x = choice(x)
    return stem, loaded


def _microseconds(times: list[float]) -> int:
    return max(1, round(median(times)))
