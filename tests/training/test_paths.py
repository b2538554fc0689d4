"""Paths: drawn uniformly, or bin by bin; the same for the same step."""

from collections import Counter
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detnas.errors import UserError
from detnas.models.backbone import Supernet
from detnas.spaces import Architecture, SearchSpace, search_space
from detnas.training.paths import PathSampler, path_chooser

TOY = SearchSpace("toy", 4, (8, 16, 24), (1, 2, 1))
ALL = {path: TOY.cost(path, 64).flops for path in (TOY.architecture(ops) for ops in product(range(4), repeat=4))}
COSTS = sorted(set(ALL.values()))


def bins_of(edges: list[float]) -> list[set[Architecture]]:
    return [{path for path, cost in ALL.items() if low <= cost < high} for low, high in pairwise(edges)]


def chi_square(counts: list[int]) -> float:
    """Standardised: about N(0, 1) for equally probable cells."""
    mean = sum(counts) / len(counts)
    freedom = len(counts) - 1
    return (sum((count - mean) ** 2 / mean for count in counts) - freedom) / (2 * freedom) ** 0.5


@settings(max_examples=40, deadline=None)
@given(st.sets(st.sampled_from([cost + off for cost in COSTS for off in (0, 0.5, 1)]), min_size=2, max_size=5))
def test_draws_lie_in_the_bins_and_empty_bins_are_refused(chosen: set[float]) -> None:
    edges = sorted(chosen)
    bins = bins_of(edges)
    if not all(bins):
        with pytest.raises(UserError) as refusal:
            PathSampler(TOY, edges, 64, "supernet_pretrain.flops_bins")
        message = str(refusal.value)
        assert message.startswith("supernet_pretrain.flops_bins: ") and "\n" not in message
        assert f"{COSTS[0]:,}" in message and f"{COSTS[-1]:,}" in message
        return
    rng = np.random.default_rng(0)
    sampler = PathSampler(TOY, edges, 64, "field")
    drawn = Counter(sampler.draw(rng) for _ in range(30 * len(bins)))
    assert set(drawn) <= set.union(*bins)
    assert all(sum(drawn[path] for path in members) > 0 for members in bins)


def test_bins_come_equally_often_and_paths_within_a_bin_too() -> None:
    edges = [COSTS[0], COSTS[len(COSTS) // 10], COSTS[len(COSTS) // 2], COSTS[-1] + 1]
    bins = bins_of(edges)
    assert len(bins[0]) * 5 < len(bins[1])  # or uniform draws would pass too
    sampler = PathSampler(TOY, edges, 64, "field")
    rng = np.random.default_rng(1)
    drawn = Counter(sampler.draw(rng) for _ in range(6000))
    assert abs(chi_square([sum(drawn[path] for path in members) for members in bins])) < 4
    for members in bins:
        assert abs(chi_square([drawn[path] for path in members])) < 4


def test_without_bins_every_op_of_every_block_is_as_frequent_and_independent() -> None:
    sampler = PathSampler(TOY, None, 64, "field")
    rng = np.random.default_rng(2)
    drawn = Counter(sampler.draw(rng) for _ in range(20 * len(ALL)))
    assert abs(chi_square([drawn[path] for path in ALL])) < 4


def test_the_official_bins_of_the_small_space_are_met() -> None:
    """Seven bins of 10M from 290M to 360M of total multiply-adds; last convolution and classifier are 33,136,640."""
    space = search_space("small")
    edges = [290e6 + 10e6 * number - 33_136_640 for number in range(8)]
    sampler = PathSampler(space, edges, 224, "field")
    rng = np.random.default_rng(3)
    totals = [space.cost(sampler.draw(rng)).flops + 33_136_640 for _ in range(700)]
    counts = Counter(int((total - 290e6) // 10e6) for total in totals)
    assert set(counts) == set(range(7)) and abs(chi_square(list(counts.values()))) < 4


def test_a_step_has_its_path_whatever_came_before() -> None:
    space = search_space("tiny", 0.25)
    edges = [0, space.cost(space.uniform("shuffle5")).flops, 1e9]

    def path(steps: list[int]) -> list[int]:
        supernet = Supernet(space)
        choose = path_chooser(supernet, PathSampler(space, edges, 224, "field"), lambda step: 100 + step, warm_start=2)
        for step in steps:
            choose(step)
        return [block.active for block in supernet.choices]

    assert path([0]) == path([1]) == [0] * 10
    assert path([2, 3, 4, 5]) == path([5])
    assert len({tuple(path([step])) for step in range(3, 13)}) == 10
