"""The table: every (block, op) timed where it stands in a network.

An op alone in a loop finds its weights and its input in the cache, which in a network it does not. So whole networks
run in pieces, with a stamp of the clock between two blocks: each block works on what the one before it just wrote, with
weights that the rest of the network has driven out of the cache.

Pieces still do not add up to a network: handing a map from one piece to the next takes time where each is a model of
its own, and on a busy machine a sum of medians is below the median of sums. What this comes to a block does not depend
on the ops. It is found on the networks of one fair draw, in which every op of every block stands once, run as wholes;
it is taken off every block, and told.
"""

from collections import Counter
from statistics import median

import numpy as np
import torch
from torch import Tensor

from detnas.device import device_name
from detnas.measuring.backends import Backend, Run, lap, rounds
from detnas.models.backbone import Subnet, Supernet
from detnas.seeds import seed_of
from detnas.spaces import OPS, LatencyTable, SearchSpace


@torch.inference_mode()
def measure(space: SearchSpace, images: Tensor, backend: Backend) -> tuple[LatencyTable, float]:
    """Time every (block, op) on `images` (1, 3, H, W); equal blocks share the median of all their times.

    Returns the table, and the microseconds that were taken off every block since pieces take longer than wholes.
    """
    rng = np.random.default_rng(seed_of(0, "latency"))
    stem, ops = _pieces(space, images, backend)
    paths = [space.architecture(path) for path in _fair(rng, len(space.blocks))]
    wholes = [backend.load(Subnet(space, path).eval(), images) for path in paths]
    given = backend.input(images)
    stem_times: list[float] = []
    times = {(block, op): list[float]() for block in space.blocks for op in range(len(OPS))}
    whole_times = [list[float]() for _ in wholes]
    for counts in rounds():
        for path in _fair(rng, len(space.blocks)):
            first, *rest = lap(backend, [stem, *(runs[op] for runs, op in zip(ops, path, strict=True))], given)
            if counts:
                stem_times.append(first)
                for block, op, taken in zip(space.blocks, path, rest, strict=True):
                    times[block, op].append(taken)
        for whole, of_whole in zip(wholes, whole_times, strict=True):
            if counts:
                of_whole += lap(backend, whole, given)
            else:
                lap(backend, whole, given)
    rows = [[median(times[block, op]) for op in range(len(OPS))] for block in space.blocks]
    in_pieces = len(wholes) * median(stem_times) + sum(map(sum, rows))
    excess = (in_pieces - sum(map(median, whole_times))) / (len(wholes) * len(rows))
    table = LatencyTable(
        space=space.name,
        height=images.shape[2],
        width=images.shape[3],
        device=device_name(backend.device),
        backend=backend.name,
        threads=backend.threads,
        stem_us=max(1, round(median(stem_times))),
        blocks_us=tuple(
            tuple(max(1, round(taken - excess)) for taken in row)  # type: ignore[misc]
            for row in rows
        ),
    )
    return table, excess


def _fair(rng: np.random.Generator, blocks: int) -> list[list[int]]:
    """As many paths as there are ops, in which every op of every block stands once, beside neighbours at random."""
    paths: list[list[int]] = rng.permuted(np.tile(np.arange(len(OPS)), (blocks, 1)), axis=1).T.tolist()
    return paths


def _pieces(space: SearchSpace, images: Tensor, backend: Backend) -> tuple[Run, list[tuple[Run, ...]]]:
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
