"""Budgets: exact against the enumeration of small spaces."""

from collections import Counter
from itertools import pairwise, product
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from latency_tables import synthetic

from detnas.spaces import Architecture, Budget, BudgetSampler, SearchSpace, search_space
from detnas.utils.errors import UserError

# Two interchangeable blocks in one, three in the other; the odd one out has one block a stage.
PAIRS = SearchSpace("pairs", 4, (8, 16), (2, 3))
SINGLES = SearchSpace("singles", 4, (8, 16, 24, 32), (1, 1, 1, 1))
SIX = SearchSpace("six", 8, (16, 24), (1, 5))
SMALL_SPACES = [PAIRS, SINGLES, SIX]
TABLES = {space.name: synthetic(space) for space in SMALL_SPACES}


def enumeration(space: SearchSpace, size: int = 64) -> list[tuple[Architecture, int, int]]:
    """Every architecture with its MACs and parameters."""
    architectures = [space.architecture(ops) for ops in product(range(4), repeat=sum(space.repeats))]
    costs = [space.cost(architecture, size) for architecture in architectures]
    return [(a, cost.macs, cost.params) for a, cost in zip(architectures, costs, strict=True)]


def latency(space: SearchSpace, architecture: Architecture) -> int:
    """In microseconds, by the table of `TABLES`."""
    table = TABLES[space.name]
    return table.stem_us + sum(row[op] for row, op in zip(table.blocks_us, architecture.ops, strict=True))


ALL = {space.name: enumeration(space) for space in SMALL_SPACES}
LATENCIES = {
    space.name: [latency(space, architecture) for architecture, _, _ in ALL[space.name]] for space in SMALL_SPACES
}


def within(space: SearchSpace, budget: Budget) -> set[Architecture]:
    return {
        architecture
        for (architecture, macs, params), latency in zip(ALL[space.name], LATENCIES[space.name], strict=True)
        if budget.macs[0] <= macs <= budget.macs[1]
        and budget.params[0] <= params <= budget.params[1]
        and budget.latency[0] <= latency <= budget.latency[1]
    }


@st.composite
def bounds(draw: st.DrawFn, costs: list[int]) -> tuple[float, float]:
    """Bounds about the costs that there are, often just on one, sometimes open."""
    attained = st.sampled_from(sorted(set(costs)))
    number = st.builds(lambda cost, off: max(0, cost + off), attained, st.sampled_from([-1, 0, 1, 0.5]))
    low, high = draw(st.one_of(st.just(0), number)), draw(st.one_of(st.just(inf), number))
    return (low, high) if low <= high else (high, low)


@st.composite
def budgets(draw: st.DrawFn, several: bool) -> tuple[SearchSpace, Budget]:
    """Bounds on one cost, or on two or three."""
    space = draw(st.sampled_from(SMALL_SPACES))
    costs = {
        "macs": [macs for _, macs, _ in ALL[space.name]],
        "params": [params for _, _, params in ALL[space.name]],
        "latency": LATENCIES[space.name],
    }
    many = st.integers(2, 3) if several else st.just(1)
    chosen = draw(st.permutations(list(costs)))[: draw(many)]
    found = {name: draw(bounds(costs[name])) for name in chosen}
    return space, Budget(**found, size=64, latencies=TABLES[space.name])


def check_draws(space: SearchSpace, budget: Budget, draws: int) -> None:
    expected = within(space, budget)
    if not expected:
        with pytest.raises(UserError):
            BudgetSampler(space, budget)
        return
    sampler = BudgetSampler(space, budget)
    rng = np.random.default_rng(0)
    drawn = [sampler.sample(rng) for _ in range(draws)]
    assert set(drawn) <= expected
    assert {a for a, _, _ in ALL[space.name] if sampler.allows(a)} == expected


@settings(max_examples=60, deadline=None)
@given(budgets(several=False))
def test_the_share_is_that_of_the_enumeration(case: tuple[SearchSpace, Budget]) -> None:
    space, budget = case
    expected = within(space, budget)
    if expected:
        assert BudgetSampler(space, budget).share() == len(expected) / space.size
    check_draws(space, budget, draws=20)


@settings(max_examples=30, deadline=None)
@given(budgets(several=True))
def test_all_bounds_hold_together(case: tuple[SearchSpace, Budget]) -> None:
    check_draws(*case, draws=20)


def test_the_share_of_both_bounds_is_estimated_well() -> None:
    macs = sorted(macs for _, macs, _ in ALL["six"])
    params = sorted(params for _, _, params in ALL["six"])
    budget = Budget((macs[400], macs[3000]), (params[1000], params[3500]), size=64)
    exact = len(within(SIX, budget)) / SIX.size
    assert 0.1 < exact < 0.9
    assert BudgetSampler(SIX, budget).share() == pytest.approx(exact, abs=0.04)


def test_the_share_of_three_bounds_is_estimated_well() -> None:
    macs = sorted(macs for _, macs, _ in ALL["six"])
    params = sorted(params for _, _, params in ALL["six"])
    latencies = sorted(LATENCIES["six"])
    budget = Budget(
        (macs[200], inf),
        (0, params[3500]),
        size=64,
        latency=(latencies[700], latencies[3300]),
        latencies=TABLES["six"],
    )
    exact = len(within(SIX, budget)) / SIX.size
    assert 0.1 < exact < 0.9
    assert BudgetSampler(SIX, budget).share() == pytest.approx(exact, abs=0.04)


def chi_square(counts: Counter, expected: set[Architecture]) -> float:
    """Standardized: about N(0, 1) for uniform draws."""
    mean = counts.total() / len(expected)
    statistic = sum((counts[architecture] - mean) ** 2 / mean for architecture in expected)
    freedom = len(expected) - 1
    return (statistic - freedom) / (2 * freedom) ** 0.5


@pytest.mark.parametrize("bounded", ["nothing", "macs", "params", "latency", "macs params", "macs params latency"])
def test_draws_are_uniform(bounded: str) -> None:
    macs = sorted(macs for _, macs, _ in ALL["singles"])
    params = sorted(params for _, _, params in ALL["singles"])
    latencies = sorted(LATENCIES["singles"])
    budget = Budget(
        (macs[20], macs[200]) if "macs" in bounded else (0, inf),
        (params[30], params[220]) if "params" in bounded else (0, inf),
        size=64,
        latency=(latencies[25], latencies[230]) if "latency" in bounded else (0, inf),
        latencies=TABLES["singles"],
    )
    expected = within(SINGLES, budget)
    assert len(expected) > 50
    sampler = BudgetSampler(SINGLES, budget)
    rng = np.random.default_rng(1)
    counts = Counter(sampler.sample(rng) for _ in range(20 * len(expected)))
    assert set(counts) == expected
    assert abs(chi_square(counts, expected)) < 4


def test_draws_are_uniform_where_blocks_are_interchangeable() -> None:
    macs = sorted(macs for _, macs, _ in ALL["pairs"])
    budget = Budget((macs[300], macs[500]), size=64)
    expected = within(PAIRS, budget)
    sampler = BudgetSampler(PAIRS, budget)
    rng = np.random.default_rng(2)
    counts = Counter(sampler.sample(rng) for _ in range(20 * len(expected)))
    assert set(counts) == expected
    assert abs(chi_square(counts, expected)) < 4


@pytest.mark.parametrize("bounded", ["macs", "both"])
def test_the_last_unseen_one_is_found_and_then_none(bounded: str) -> None:
    macs = sorted(macs for _, macs, _ in ALL["six"])
    params = sorted(params for _, _, params in ALL["six"])
    budget = Budget((macs[100], macs[160]), (0, inf) if bounded == "macs" else (0, params[3000]), size=64)
    expected = within(SIX, budget)
    assert len(expected) > 10
    sampler = BudgetSampler(SIX, budget)
    rng = np.random.default_rng(3)
    seen: set[Architecture] = set()
    for _ in expected:
        architecture = sampler.sample(rng, seen)
        assert architecture is not None and architecture not in seen
        seen.add(architecture)
    assert seen == expected
    assert sampler.sample(rng, seen) is None


def test_the_same_random_state_gives_the_same_draws() -> None:
    def draws() -> list[Architecture | None]:
        sampler = BudgetSampler(search_space("small"), Budget(macs=(0, 300e6)))
        rng = np.random.default_rng(4)
        return [sampler.sample(rng) for _ in range(5)]

    assert draws() == draws()


@pytest.mark.parametrize(("name", "macs"), [("small", (280e6, 300e6)), ("large", (1.2e9, 1.25e9))])
def test_the_big_spaces_are_drawn_from_without_enumeration(name: str, macs: tuple[float, float]) -> None:
    space = search_space(name)
    sampler = BudgetSampler(space, Budget(macs=macs))
    rng = np.random.default_rng(5)
    costs = [space.cost(sampler.sample(rng)).macs for _ in range(50)]
    assert all(macs[0] <= cost <= macs[1] for cost in costs)
    # Against plain uniform draws, which know nothing of the sampler's counts.
    blocks = sum(space.repeats)
    plain = [space.cost(space.architecture(row)).macs for row in rng.integers(4, size=(1500, blocks)).tolist()]
    assert sampler.share() == pytest.approx(np.mean([macs[0] <= cost <= macs[1] for cost in plain]), abs=0.05)


def test_the_share_of_the_small_space_within_300m_is_that_of_the_paper() -> None:
    assert BudgetSampler(search_space("small"), Budget(macs=(0, 300e6))).share() == pytest.approx(0.69, abs=0.01)


def test_no_bound_allows_everything() -> None:
    assert BudgetSampler(search_space("small"), Budget()).share() == 1.0


def test_a_rare_architecture_under_two_bounds_is_found() -> None:
    # Few small-space networks have under 1.48M parameters, all of them cheap: rejection from the bound on
    # MACs would take millions of draws.
    space = search_space("small")
    budget = Budget(macs=(0, 300e6), params=(0, 1.48e6))
    sampler = BudgetSampler(space, budget)
    architecture = sampler.sample(np.random.default_rng(6))
    assert architecture is not None
    assert budget.allows(space.cost(architecture))
    assert 0 < sampler.share() < 1e-4


@pytest.mark.parametrize("bounds", [(0, 200e6), (1e12, inf), (300e6, 290e6)])
def test_bounds_outside_the_range_are_refused_with_the_range(bounds: tuple[float, float]) -> None:
    table = search_space("small").cost_table()
    least = table.stem.macs + sum(min(row.values()) for row in table.of("macs"))
    most = table.stem.macs + sum(max(row.values()) for row in table.of("macs"))
    with pytest.raises(UserError) as refusal:
        BudgetSampler(search_space("small"), Budget(macs=bounds))
    message = str(refusal.value)
    assert message.startswith("budget.macs")
    assert f"{least:,}" in message and f"{most:,}" in message and "224" in message
    assert "\n" not in message


def test_the_very_ends_of_the_range_are_allowed() -> None:
    space = search_space("small")
    table = space.cost_table()
    for pick in (min, max):
        params = table.stem.params + sum(pick(row.values()) for row in table.of("params"))
        sampler = BudgetSampler(space, Budget(params=(params, params)))
        architecture = sampler.sample(np.random.default_rng(0))
        assert architecture is not None and space.cost(architecture).params == params


@pytest.mark.parametrize("cost", ["macs", "params"])
def test_a_gap_inside_the_range_is_refused_with_the_range(cost: str) -> None:
    values = sorted({row[1 if cost == "macs" else 2] for row in ALL["six"]})
    gap = next((low, high) for low, high in pairwise(values) if high - low > 2)
    budget = Budget(**{cost: (gap[0] + 1, gap[1] - 1)}, size=64)
    with pytest.raises(UserError) as refusal:
        BudgetSampler(SIX, budget)
    message = str(refusal.value)
    assert message.startswith(f"budget.{cost}")
    assert f"{values[0]:,}" in message and f"{values[-1]:,}" in message
    assert "\n" not in message


def test_bounds_that_exclude_each_other_are_refused_with_both_ranges() -> None:
    macs = sorted(macs for _, macs, _ in ALL["six"])
    params = sorted(params for _, _, params in ALL["six"])
    for budget in (
        Budget((macs[-1], macs[-1]), (params[0], params[0]), size=64),
        Budget((macs[0], macs[0]), (params[-1], params[-1]), size=64),
    ):
        assert not within(SIX, budget)
        with pytest.raises(UserError) as refusal:
            BudgetSampler(SIX, budget)
        message = str(refusal.value)
        for number in (macs[0], macs[-1], params[0], params[-1]):
            assert f"{number:,}" in message
        assert "\n" not in message and " ms" not in message


def test_a_latency_that_the_other_bounds_exclude_is_refused_with_all_ranges() -> None:
    macs = sorted(macs for _, macs, _ in ALL["six"])
    by_latency = sorted(zip(LATENCIES["six"], ALL["six"], strict=True), key=lambda one: one[0])
    slowest, (_, its_macs, _) = by_latency[-1]
    bound = next(number for number in macs if number != its_macs)
    budget = Budget((bound, bound), size=64, latency=(slowest, slowest), latencies=TABLES["six"])
    assert not within(SIX, budget)
    with pytest.raises(UserError) as refusal:
        BudgetSampler(SIX, budget)
    message = str(refusal.value)
    assert f"{macs[0]:,} to {macs[-1]:,}" in message and "\n" not in message
    assert f"there are {by_latency[0][0] / 1e3:,.3f} to {slowest / 1e3:,.3f} " in message
