"""Spaces whose architectures choose a resolution, and budgets of detectors in them."""

from collections import Counter
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from detnas.search.parameters import architecture_from, distributions, parameters_of
from detnas.spaces import Architecture, Budget, BudgetSampler, Cost, DetectorParts, SearchSpace
from detnas.utils.errors import UserError

PLAIN = SearchSpace("toy", 4, (8, 16), (1, 2), ("shuffle3", "xception"))
SPACE = replace(PLAIN, resolutions=(64, 96, 128))
EVERY = [SPACE.architecture(ops, side) for side in SPACE.resolutions for ops in product(range(2), repeat=3)]
PARTS = {side: DetectorParts((side, 2 * side), Cost(1000 * side, 10), Cost(7 * side**2, 20)) for side in (64, 96, 128)}


def macs(architecture: Architecture) -> int:
    """Of the whole detector, from what its parts cost at its own size."""
    side = architecture.resolution or 0
    backbone = PLAIN.cost(replace(architecture, resolution=None), (side, 2 * side))
    return backbone.macs + 1000 * side + 7 * side**2


def test_a_resolution_is_one_choice_more() -> None:
    assert SPACE.size == 3 * PLAIN.size == len(set(EVERY)) == len(EVERY)
    for one in EVERY:
        SPACE.check(one)
        assert SPACE.decode(SPACE.encode(one)) == one
        assert len(SPACE.encode(one)) == len(SPACE.choices) == 4
    counts = Counter(SPACE.draw(np.random.default_rng(seed)) for seed in range(100 * len(EVERY)))
    assert set(counts) == set(EVERY) and max(counts.values()) < 100 + 5 * 10  # five standard deviations


def test_paths_that_are_trained_together_have_one_resolution() -> None:
    sides = [{path.resolution for path in SPACE.fair_draw(np.random.default_rng(seed))} for seed in range(50)]
    assert {len(one) for one in sides} == {1} and set().union(*sides) == {64, 96, 128}


@pytest.mark.parametrize("text", ["0 10", "80 | 0 10"])
def test_another_resolution_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(UserError, match=r"architecture .*: begin it with 64 \| or 96 \| or 128 \|"):
        SPACE.check(Architecture.parse(text))
    with pytest.raises(UserError, match="leave its resolution out, the space has no choice"):
        PLAIN.check(Architecture.parse("64 | 0 10"))


@pytest.mark.parametrize("resolutions", [(96, 64), (64, 64), (0, 64), (64, 9000)])
def test_resolutions_rise(resolutions: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"space toy: resolutions \[.*\] must rise, from 1 to 8192 pixels"):
        replace(PLAIN, resolutions=resolutions)


@pytest.mark.parametrize("quantiles", [(0.0, 0.3), (0.3, 0.8), (0.9, 1.0)])
def test_draws_within_a_budget_of_the_detector_are_uniform(quantiles: tuple[float, float]) -> None:
    costs = sorted(map(macs, EVERY))
    low, high = (costs[round(quantile * (len(costs) - 1))] for quantile in quantiles)
    sampler = BudgetSampler(SPACE, Budget(macs=(low, high), detector=PARTS))
    within = {one for one in EVERY if low <= macs(one) <= high}
    assert {one for one in EVERY if sampler.allows(one)} == within
    assert all(sampler.cost(one).macs == macs(one) for one in EVERY)
    assert sampler.share() == pytest.approx(len(within) / len(EVERY))
    rng, draws = np.random.default_rng(0), 200 * len(within)
    counts = Counter(sampler.sample(rng) for _ in range(draws))
    assert set(counts) == within
    assert all(abs(count - 200) < 5 * 200**0.5 for count in counts.values())
    assert sampler.sample(rng, within) is None


def test_several_bounds_hold_at_every_resolution() -> None:
    params = sorted({PLAIN.cost(replace(one, resolution=None)).params + 30 for one in EVERY})
    budget = Budget(macs=(0, sorted(map(macs, EVERY))[15]), params=(0, params[-2]), detector=PARTS)
    sampler, rng = BudgetSampler(SPACE, budget), np.random.default_rng(0)
    within = {one for one in EVERY if budget.allows(sampler.cost(one))}
    assert {sampler.sample(rng) for _ in range(500)} == within


def test_a_budget_that_nothing_meets_is_refused_with_the_whole_range() -> None:
    with pytest.raises(UserError) as refusal:
        BudgetSampler(SPACE, Budget(macs=(1, 2), detector=PARTS))
    message = str(refusal.value)
    assert message.startswith("budget.macs: no detector of space toy has 1 to 2 macs")
    assert f"{min(map(macs, EVERY)):,} to {max(map(macs, EVERY)):,}" in message
    assert "at 64x128 and 96x192 and 128x256 pixels" in message


def test_a_trial_keeps_the_resolution() -> None:
    for one in EVERY:
        parameters = parameters_of(one, SPACE)
        assert parameters.keys() == distributions(SPACE).keys()
        assert architecture_from(parameters, SPACE) == one
