"""Spaces whose architectures choose a resolution and a head, and budgets of detectors in them."""

from collections import Counter
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from detnas.search.parameters import architecture_from, distributions, parameters_of
from detnas.spaces import Architecture, Budget, BudgetSampler, Cost, DetectorParts, SearchSpace
from detnas.spaces.block import HeadSpace
from detnas.utils.errors import UserError

PLAIN = SearchSpace("toy", 4, (8, 16), (1, 2), ("shuffle3", "xception"))
HEAD = HeadSpace(("full", "separable", "skip"), (((0, 1),), ((0, 1, 2), (2,))))
SPACE = replace(PLAIN, resolutions=(64, 96, 128), head=HEAD)
EVERY = [SPACE.decode(chosen) for chosen in product(*SPACE.choices)]
PARTS = {
    side: DetectorParts(
        (side, 2 * side),
        Cost(1000 * side, 10),
        Cost(7 * side**2, 20),
        (
            {0: Cost(side**2, 9), 1: Cost(side, 3)},
            {0: Cost(30 * side, 9), 1: Cost(side, 3), 2: Cost(0, 0)},
            {2: Cost(0, 0)},
        ),
    )
    for side in (64, 96, 128)
}


def macs(architecture: Architecture) -> int:
    """Of the whole detector, from what its parts cost at its own size."""
    side = architecture.resolution or 0
    head = [{0: side**2, 1: side}, {0: 30 * side, 1: side, 2: 0}, {2: 0}]
    chosen = sum(costs[op] for op, costs in zip(architecture.head_ops, head, strict=True))
    return PLAIN.cost(Architecture(architecture.stages), (side, 2 * side)).macs + 1000 * side + 7 * side**2 + chosen


def test_resolution_and_head_are_choices_as_the_ops_are() -> None:
    assert SPACE.size == 3 * 6 * PLAIN.size == len(set(EVERY)) == len(EVERY)
    for one in EVERY:
        SPACE.check(one)
        assert SPACE.decode(SPACE.encode(one)) == one
        assert len(SPACE.encode(one)) == len(SPACE.choices) == 1 + 3 + 3
    rng = np.random.default_rng(0)
    counts = Counter(SPACE.draw(rng) for _ in range(100 * len(EVERY)))
    assert set(counts) == set(EVERY) and max(counts.values()) < 100 + 5 * 10  # five standard deviations


def test_paths_that_are_trained_together_have_one_resolution() -> None:
    sides = [{path.resolution for path in SPACE.fair_draw(np.random.default_rng(seed))} for seed in range(50)]
    assert {len(one) for one in sides} == {1} and set().union(*sides) == {64, 96, 128}
    for seed in range(50):
        paths = SPACE.fair_draw(np.random.default_rng(seed))
        assert all(map(SPACE.allows, paths)) and {path.head[0][0] for path in paths} == {0, 1}


@pytest.mark.parametrize("text", ["0 10 + 0 02", "80 | 0 10 + 0 02"])
def test_another_resolution_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(UserError, match=r"architecture .*: begin it with 64 \| or 96 \| or 128 \|"):
        SPACE.check(Architecture.parse(text))
    with pytest.raises(UserError, match="leave its resolution out, the space has no choice"):
        PLAIN.check(Architecture.parse("64 | 0 10"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "64 | 0 10",
            r"chooses no convolutions of the head, but space toy leaves \(1, 2\) to choose; end it with a plus",
        ),
        ("64 | 0 10 + 0 0", r"chooses \(1, 1\) convolutions"),
        ("64 | 0 10 + 0 00", "op 0 is not allowed at a convolution of the head; choose from 2"),
    ],
)
def test_another_head_is_refused_with_what_there_is(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        SPACE.check(Architecture.parse(text))
    with pytest.raises(
        UserError, match=r"chooses \(1,\) convolutions .* leaves none to choose; leave out what follows"
    ):
        PLAIN.check(Architecture.parse("0 10 + 0"))


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
    free = BudgetSampler(SPACE, Budget(detector=PARTS))
    params = sorted({free.cost(one).params for one in EVERY})
    budget = Budget(macs=(0, sorted(map(macs, EVERY))[60]), params=(0, params[-2]), detector=PARTS)
    sampler, rng = BudgetSampler(SPACE, budget), np.random.default_rng(0)
    within = {one for one in EVERY if budget.allows(free.cost(one))}
    assert 0 < len(within) < len(EVERY) / 2 and {sampler.sample(rng) for _ in range(3000)} == within


def test_without_the_detector_resolution_and_head_cost_nothing() -> None:
    sampler, rng = BudgetSampler(SPACE, Budget(size=64)), np.random.default_rng(0)
    assert sampler.share() == 1
    for _ in range(100):
        one = sampler.sample(rng)
        assert one is not None and sampler.cost(one) == PLAIN.cost(Architecture(one.stages), 64)


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
