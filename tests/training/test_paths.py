"""Paths: drawn uniformly, or bin by bin; the same for the same step."""

import copy
from collections import Counter
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detnas.config import TrainingSettings
from detnas.models.supernet import Supernet
from detnas.spaces import Architecture, Budget, BudgetSampler, SearchSpace, search_space
from detnas.training.loop import train_step
from detnas.training.paths import INTERVALS, PathSampler, bin_samplers, interval_samplers, path_chooser
from detnas.training.state import TrainingState
from detnas.utils.errors import UserError

TOY = SearchSpace("toy", 4, (8, 16, 24), (1, 2, 1))
ALL = {path: TOY.cost(path, 64).macs for path in (TOY.architecture(ops) for ops in product(range(4), repeat=4))}
COSTS = sorted(set(ALL.values()))


def bins_of(edges: list[float]) -> list[set[Architecture]]:
    return [{path for path, cost in ALL.items() if low <= cost < high} for low, high in pairwise(edges)]


def chi_square(counts: list[int]) -> float:
    """Standardized: about N(0, 1) for equally probable cells."""
    mean = sum(counts) / len(counts)
    freedom = len(counts) - 1
    return (sum((count - mean) ** 2 / mean for count in counts) - freedom) / (2 * freedom) ** 0.5


def test_paths_within_the_budget_are_drawn_uniformly() -> None:
    low, high = COSTS[len(COSTS) // 3], COSTS[len(COSTS) // 2]
    allowed = [path for path, cost in ALL.items() if low <= cost <= high]
    paths = PathSampler(TOY, [BudgetSampler(TOY, Budget(macs=(low, high), size=64))])
    rng = np.random.default_rng(0)
    counts = Counter(path for _ in range(20 * len(allowed)) for path in paths.draw(rng))
    assert counts.keys() <= set(allowed) and abs(chi_square([counts[path] for path in allowed])) < 4


@settings(max_examples=40, deadline=None)
@given(st.sets(st.sampled_from([cost + off for cost in COSTS for off in (0, 0.5, 1)]), min_size=2, max_size=5))
def test_draws_lie_in_the_bins_and_empty_bins_are_refused(chosen: set[float]) -> None:
    edges = sorted(chosen)
    bins = bins_of(edges)
    if not all(bins):
        with pytest.raises(UserError) as refusal:
            PathSampler(TOY, bin_samplers(TOY, edges, 64, "supernet_pretrain.macs_bins"))
        message = str(refusal.value)
        assert message.startswith("supernet_pretrain.macs_bins: ") and "\n" not in message
        assert f"{COSTS[0]:,}" in message and f"{COSTS[-1]:,}" in message
        return
    rng = np.random.default_rng(0)
    sampler = PathSampler(TOY, bin_samplers(TOY, edges, 64, "field"))
    drawn = Counter(sampler.draw(rng)[0] for _ in range(30 * len(bins)))
    assert set(drawn) <= set.union(*bins)
    assert all(sum(drawn[path] for path in members) > 0 for members in bins)


def test_bins_come_equally_often_and_paths_within_a_bin_too() -> None:
    edges = [COSTS[0], COSTS[len(COSTS) // 10], COSTS[len(COSTS) // 2], COSTS[-1] + 1]
    bins = bins_of(edges)
    assert len(bins[0]) * 5 < len(bins[1])  # or uniform draws would pass too
    sampler = PathSampler(TOY, bin_samplers(TOY, edges, 64, "field"))
    rng = np.random.default_rng(1)
    drawn = Counter(sampler.draw(rng)[0] for _ in range(6000))
    assert abs(chi_square([sum(drawn[path] for path in members) for members in bins])) < 4
    for members in bins:
        assert abs(chi_square([drawn[path] for path in members])) < 4


@pytest.mark.parametrize("bounds", [{}, {"macs": (COSTS[len(COSTS) // 4], COSTS[-1] + 10**6)}], ids=["none", "least"])
def test_paths_are_drawn_evenly_over_the_costs_within_a_budget(bounds: dict[str, Any]) -> None:
    low, high = bounds.get("macs", (COSTS[0], 0))[0], COSTS[-1]
    samplers = interval_samplers(BudgetSampler(TOY, Budget(**bounds, size=64)))
    step = (high - low) / INTERVALS
    held = [any(low + part * step <= cost <= low + (part + 1) * step for cost in COSTS) for part in range(INTERVALS)]
    assert len(samplers) == sum(held)
    rng = np.random.default_rng(0)
    paths = [PathSampler(TOY, samplers).draw(rng) for _ in range(4000)]
    assert {len(one) for one in paths} == {1} and all(ALL[one[0]] >= low for one in paths)
    drawn = Counter(min(int((ALL[one[0]] - low) / step), INTERVALS - 1) for one in paths)
    assert abs(chi_square(list(drawn.values()))) < 5 and len(drawn) == len(samplers)


def test_a_sandwich_has_a_cheap_an_expensive_and_a_random_path() -> None:
    samplers = interval_samplers(BudgetSampler(TOY, Budget(size=64)))
    sampler, rng = PathSampler(TOY, samplers, is_sandwich=True), np.random.default_rng(0)
    low, high = COSTS[0], COSTS[-1]
    step = (high - low) / INTERVALS
    others = set()
    for _ in range(200):
        cheap, expensive, other = (ALL[path] for path in sampler.draw(rng))
        assert cheap <= low + step and expensive >= high - step
        others.add(other)
    assert min(others) < low + step and max(others) > high - step


def test_without_bins_every_op_of_every_block_is_as_frequent_and_independent() -> None:
    sampler = PathSampler(TOY)
    rng = np.random.default_rng(2)
    drawn = Counter(sampler.draw(rng)[0] for _ in range(20 * len(ALL)))
    assert abs(chi_square([drawn[path] for path in ALL])) < 4


def test_the_official_bins_of_the_small_space_are_met() -> None:
    """Seven bins of 10M from 290M to 360M of total MACs; last convolution and classifier are 33,136,640."""
    space = search_space("small")
    edges = [290e6 + 10e6 * number - 33_136_640 for number in range(8)]
    sampler = PathSampler(space, bin_samplers(space, edges, 224, "field"))
    rng = np.random.default_rng(3)
    totals = [space.cost(sampler.draw(rng)[0]).macs + 33_136_640 for _ in range(700)]
    counts = Counter(int((total - 290e6) // 10e6) for total in totals)
    assert set(counts) == set(range(7)) and abs(chi_square(list(counts.values()))) < 4


def test_a_step_has_its_path_whatever_came_before() -> None:
    space = search_space("tiny", 0.25)
    edges = [0, space.cost(space.uniform("shuffle5")).macs, 1e9]

    def path(steps: list[int]) -> list[int]:
        supernet = Supernet(space)
        choose = path_chooser(
            supernet.activate, PathSampler(space, bin_samplers(space, edges, 224, "field")), lambda step: 100 + step
        )
        for step in steps:
            list(choose(step))
        return [block.active for block in supernet.choices]

    assert path([2, 3, 4, 5]) == path([5])
    assert len({tuple(path([step])) for step in range(3, 13)}) == 10


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32))
def test_fair_paths_hold_each_op_of_each_block_once(seed: int) -> None:
    paths = PathSampler(TOY, is_fair=True).draw(np.random.default_rng(seed))
    assert len(paths) == 4
    for ops in zip(*(path.ops for path in paths), strict=True):
        assert sorted(ops) == [0, 1, 2, 3]


def test_fair_paths_are_uniform_each_for_itself() -> None:
    sampler = PathSampler(TOY, is_fair=True)
    rng = np.random.default_rng(4)
    steps = [sampler.draw(rng) for _ in range(20 * len(ALL))]
    for place in range(4):
        drawn = Counter(paths[place] for paths in steps)
        assert abs(chi_square([drawn[path] for path in ALL])) < 4


def test_a_fair_step_sums_the_gradients_of_its_paths() -> None:
    """Against each path on its own: one update moves every op of every block, by its own path's gradient alone."""
    space = search_space("tiny", 0.25)
    supernet = Supernet(space).train()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    class Squares:
        def losses(self, model: Supernet, batch: None, device: torch.device) -> tuple[dict[str, torch.Tensor], Any]:
            return {"squares": torch.stack([feature.square().mean() for feature in model(images)]).sum()}, {}

    sampler = PathSampler(space, is_fair=True)
    expected: dict[str, torch.Tensor] = {}
    losses = []
    for path in sampler.draw(np.random.default_rng(7)):
        alone = copy.deepcopy(supernet)
        alone.activate(path)
        loss = Squares().losses(alone, None, torch.device("cpu"))[0]["squares"]
        loss.backward()
        losses.append(loss.item())
        for name, parameter in alone.named_parameters():
            if parameter.grad is not None:
                expected[name] = expected.get(name, 0) + parameter.grad
    told = TrainingSettings(steps=10, batch_size=2, lr=1.0, momentum=0.0, weight_decay=0.0)
    state = TrainingState(supernet, told)
    before = {name: parameter.detach().clone() for name, parameter in supernet.named_parameters()}
    passes = path_chooser(supernet.activate, sampler, lambda step: step)(7)
    figures = train_step(state, Squares(), None, torch.device("cpu"), passes)  # type: ignore[arg-type]
    assert figures["loss"] == pytest.approx(sum(losses) / 4)
    assert expected.keys() == before.keys()
    for name, parameter in supernet.named_parameters():
        assert torch.allclose(before[name] - parameter, expected[name], rtol=1e-4, atol=1e-6), name
