"""The variation operators: how often genes change, and whose they are."""

import numpy as np
import pytest

from detnas.search.samplers.evolution import crossover, mutate
from detnas.spaces import PAPER_OPS, search_space

SMALL = search_space("small")


def test_genes_mutate_at_three_quarters_of_a_tenth() -> None:
    """Each op is drawn again with probability 0.1, and then is another one in three of four cases."""
    rng = np.random.default_rng(0)
    parent = SMALL.uniform("shuffle7")
    ops = np.array([mutate(SMALL, [parent], 0.1, rng).ops for _ in range(4000)])
    changed = ops != PAPER_OPS.index("shuffle7")
    assert changed.mean() == pytest.approx(0.075, abs=0.005)  # five standard deviations
    assert changed.mean(axis=0) == pytest.approx(np.full(20, 0.075), abs=0.025)
    others = [int((ops == op).sum()) for op in (0, 1, 3)]
    assert max(others) - min(others) < 0.15 * sum(others) / 3


def test_a_crossover_takes_half_of_its_genes_from_each() -> None:
    rng = np.random.default_rng(0)
    parents = [SMALL.uniform("shuffle3"), SMALL.uniform("xception")]
    ops = np.array([crossover(SMALL, parents, rng).ops for _ in range(2000)])
    assert set(np.unique(ops)) == {0, 3}
    mixed = ops[(ops != ops[:, :1]).any(axis=1)]
    assert 0.4 < len(mixed) / len(ops) < 0.6  # in half of the cases both parents are the same one
    assert (mixed == 0).mean(axis=0) == pytest.approx(np.full(20, 0.5), abs=0.08)
