"""The search by a linear model: its posterior against a dense one, its steps, and what it finds."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sampling import Sampled, sample

from detnas.config import SearchSettings
from detnas.search.samplers import SAMPLERS
from detnas.search.samplers.linear import climb
from detnas.search.samplers.linear_model import SHRINKAGES, LinearModel
from detnas.spaces import PAPER_OPS, Architecture, Budget, BudgetSampler, SearchSpace

SPACE = SearchSpace("toy", 4, (8, 16, 24, 32), (2, 1, 2, 1))
EVERY = [SPACE.architecture(ops) for ops in itertools.product(range(len(PAPER_OPS)), repeat=6)]
FREE = BudgetSampler(SPACE, Budget())


def drawn(count: int, seed: int = 0) -> list[Architecture]:
    rng = np.random.default_rng(seed)
    return [EVERY[place] for place in rng.permutation(len(EVERY))[:count]]


def added(effects: np.ndarray, architecture: Architecture) -> float:
    return float(effects[range(6), list(architecture.ops)].sum())


def encoded(architectures: list[Architecture]) -> np.ndarray:
    return np.array(
        [[op == choice for op in one.ops for choice in range(len(PAPER_OPS))] for one in architectures], float
    )


@pytest.mark.parametrize("count", [3, 7, 24, 25, 120])
def test_the_posterior_is_that_of_a_dense_regression(count: int) -> None:
    """Fewer architectures than effects, as many, and more: kernel matrices, all shrinkages tried one by one."""
    rng = np.random.default_rng(count)
    known, truth = drawn(count), rng.normal(size=(6, len(PAPER_OPS)))
    fitness = [added(truth, one) + 2 * rng.normal() for one in known]
    inputs = encoded(known) - encoded(known).mean(0)
    values = np.array(fitness) - np.mean(fitness)
    # An orthonormal basis of what a constant does not touch.
    basis = np.linalg.svd(np.eye(count) - 1 / count)[0][:, : count - 1]
    best, likelihood = 0.0, -np.inf
    for shrinkage in SHRINKAGES:
        covariance = basis.T @ (inputs @ inputs.T + shrinkage * np.eye(count)) @ basis
        seen = basis.T @ values
        size = seen @ np.linalg.solve(covariance, seen) / (count - 1)
        found = -((count - 1) * np.log(size) + np.linalg.slogdet(covariance)[1]) / 2
        if found > likelihood:
            best, likelihood, variance = shrinkage, found, size
    precision = inputs.T @ inputs / (best * variance) + np.eye(24) / variance
    covariance = np.linalg.inv(precision)
    mean = covariance @ inputs.T @ values / (best * variance)
    model, others = LinearModel(SPACE, known, fitness), drawn(50, seed=1)
    expected = np.mean(fitness) + (encoded(others) - encoded(known).mean(0)) @ mean
    assert model.predict(others) == pytest.approx(expected, rel=1e-6)
    effects = np.array([model.effects(rng).ravel() for _ in range(20_000)])
    assert effects.mean(0) == pytest.approx(mean, abs=0.05 * variance**0.5)
    assert np.cov(effects.T) == pytest.approx(covariance, abs=0.05 * variance)


@pytest.mark.parametrize("known", [EVERY[:1], EVERY[:1] * 3, EVERY[:9]])
def test_where_nothing_can_be_learned_all_are_expected_to_be_alike(known: list[Architecture]) -> None:
    model = LinearModel(SPACE, known, [0.25] * len(known))
    assert model.predict(EVERY[:50]) == pytest.approx(np.full(50, 0.25))
    assert not model.effects(np.random.default_rng(0)).any()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.001, 1), st.sets(st.integers(0, len(EVERY) - 1), max_size=40))
def test_steps_end_where_no_change_of_one_block_or_two_is_better(seed: int, width: float, taken: set[int]) -> None:
    rng = np.random.default_rng(seed)
    costs = np.sort([SPACE.cost(one).macs for one in EVERY])
    low = int(rng.integers(len(EVERY) - 1))
    bounds = (int(costs[low]), int(costs[min(low + int(width * len(EVERY)), len(EVERY) - 1)]))
    sampler, seen = BudgetSampler(SPACE, Budget(macs=bounds)), {EVERY[place] for place in taken}
    start = sampler.sample(rng, seen)
    if start is None:
        return
    effects = rng.normal(size=(6, len(PAPER_OPS)))

    def allowed(one: Architecture) -> bool:
        return one not in seen and sampler.allows(one)

    end = climb(SPACE, start, effects, allowed)
    assert allowed(end) and added(effects, end) >= added(effects, start)
    near = [one for one in EVERY if sum(map(int.__ne__, one.ops, end.ops)) <= 2 and allowed(one)]
    assert max(added(effects, one) for one in near) == pytest.approx(added(effects, end))


def test_without_bounds_the_steps_lead_to_the_best() -> None:
    effects = np.random.default_rng(0).normal(size=(6, len(PAPER_OPS)))
    assert climb(SPACE, EVERY[0], effects, FREE.allows).ops == tuple(effects.argmax(1).tolist())


def found(name: str, seed: int, fitness: Callable[[Architecture], float]) -> tuple[Sampled, Architecture]:
    """What is sampled, and the best of it by the sampler's merits."""
    chosen = SearchSettings(
        sampler=name, evaluations=60, population=10, num_parents=5, num_mutations=4, num_crossovers=4
    )
    sampler = SAMPLERS[name](FREE, chosen, seed)
    sampled = sample(sampler, fitness)
    merits = sampler.merits(sampled.architectures, sampled.fitness)
    return sampled, sampled.architectures[int(np.argmax(merits))]


@pytest.mark.learns
def test_under_noise_it_finds_better_than_evolution_and_than_its_own_highest_fitness() -> None:
    """The winner's true worth, of a fitness that each architecture has its own error of; 80 seeds."""
    worth: dict[str, list[float]] = {"evolution": [], "linear": [], "highest": []}
    for seed in range(80):
        truth = np.random.default_rng(seed).normal(size=(6, len(PAPER_OPS)))
        error = np.random.default_rng([seed, 1]).normal(size=len(EVERY))

        def fitness(one: Architecture, truth: np.ndarray = truth, error: np.ndarray = error) -> float:
            return added(truth, one) + 1.5 * float(error[EVERY.index(one)])

        for name in ("evolution", "linear"):
            sampled, winner = found(name, seed, fitness)
            worth[name].append(added(truth, winner))
        worth["highest"].append(added(truth, sampled.architectures[int(np.argmax(sampled.fitness))]))
    mean = {name: float(np.mean(of)) for name, of in worth.items()}
    # Five standard deviations of such a mean below what is expected, or more.
    assert mean["linear"] > mean["evolution"] + 0.5 and mean["linear"] > mean["highest"] + 0.05, mean


def test_after_the_first_generation_all_comes_from_the_model() -> None:
    sampled, _ = found("linear", 0, lambda one: float(one.ops[0]))
    assert sampled.origins == ["random"] * 10 + ["linear"] * 50
    assert {architecture.ops[0] for architecture in sampled.architectures[20:]} == {3}
