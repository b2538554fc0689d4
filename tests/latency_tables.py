"""Latency tables that nobody measured."""

from pathlib import Path

import numpy as np

from detnas.spaces import LatencyTable, SearchSpace
from detnas.spaces.latency import read_latencies, write_latencies


def write_table(path: Path, table: LatencyTable) -> None:
    write_latencies(path, [table])


def read_table(path: Path) -> LatencyTable:
    """The only table of a file."""
    (table,) = read_latencies(path)
    return table


def synthetic(space: SearchSpace, seed: int = 0, stem_us: int = 500) -> LatencyTable:
    """Random latencies, equal for equal blocks."""
    rng = np.random.default_rng(seed)
    rows = {block: tuple(rng.integers(100, 2000, size=4).tolist()) for block in dict.fromkeys(space.blocks)}
    return LatencyTable(
        space=space.name,
        height=96,
        width=128,
        device="a device",
        backend="eager",
        threads=2,
        stem_us=stem_us,
        blocks_us=tuple(rows[block] for block in space.blocks),
    )
