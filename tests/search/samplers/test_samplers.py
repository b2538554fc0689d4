"""The samplers by name: how they begin, and what each is for."""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.samplers import NSGAIISampler
from sampling import SPACE, Sampled, fitness, make_sampler, sample, values_of

from detnas.evaluation.metrics.pareto import pareto_front
from detnas.search.samplers import SAMPLERS
from detnas.search.samplers.base import EvaluationRecord, Sampler
from detnas.search.samplers.nsga2 import NSGA2Sampler
from detnas.spaces import Architecture, Budget, BudgetSampler

optuna.logging.set_verbosity(optuna.logging.WARNING)

EVERY = [SPACE.architecture(ops) for ops in itertools.product(range(4), repeat=6)]
NAMES = ("evolution", "nsga2", "linear", "tpe", "random")


def macs(architecture: Architecture) -> int:
    return SPACE.cost(architecture).macs


BOUND = float(np.quantile([macs(architecture) for architecture in EVERY], 0.7))
WITHIN = [architecture for architecture in EVERY if macs(architecture) <= BOUND]


def sampler_of(name: str, seed: int = 0, **changes: Any) -> Sampler:
    numbers = {"evaluations": 60, "population": 20, "num_parents": 10, "num_mutations": 8, "num_crossovers": 8}
    budget_sampler = changes.pop("budget_sampler", None) or BudgetSampler(SPACE, Budget(macs=(0, BOUND)))
    return make_sampler(name, seed, budget_sampler, **(numbers | changes))


def sampled(name: str, seed: int = 0, **changes: Any) -> Sampled:
    return sample(sampler_of(name, seed, **changes))


def test_the_samplers_are_those_of_the_docs() -> None:
    assert tuple(SAMPLERS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_all_begin_with_the_same_draws_of_the_seed(name: str) -> None:
    found = sampled(name).architectures[:20]
    assert found == sampled("random").architectures[:20]
    assert set(sampled(name, seed=1).architectures[:20]).isdisjoint(found)


# Random search


def test_a_random_proposal_depends_on_the_seed_alone() -> None:
    """Whoever asks for it, in whatever order, and whatever the fitness of the others."""
    expected = [sampler_of("random").propose([], index) for index in range(60)]
    assert expected == sampled("random").proposals
    assert {one.origin for one in expected} == {"random"}
    late = sampler_of("random")
    assert [late.propose([], index) for index in (41, 3, 59)] == [expected[index] for index in (41, 3, 59)]


def test_random_search_is_a_first_generation_of_all_evaluations() -> None:
    assert sampled("random").proposals == sampled("evolution", population=60).proposals


# TPE


@pytest.mark.learns
def test_tpe_learns_from_what_is_finished() -> None:
    """Six studies: one may be unlucky."""
    gains = []
    for seed in range(6):
        found = sampled("tpe", seed)
        assert found.origins[:20] == ["random"] * 20 and found.origins[20:].count("tpe") > 30
        first = found.fitness[:20]
        gains.append((np.mean(found.fitness[40:]) - np.mean(first)) / np.std(first))
    assert np.mean(gains) > 0.75  # without learning 0 is expected; five standard deviations from either


def test_tpe_draws_at_random_where_all_that_it_wants_is_outside_the_budget() -> None:
    costs = sorted(map(macs, EVERY))
    budget_sampler = BudgetSampler(SPACE, Budget(macs=(costs[2000], costs[2001])))
    few = [architecture for architecture in EVERY if budget_sampler.allows(architecture)]
    numbers = {"evaluations": len(few), "population": 1, "num_mutations": 0, "num_crossovers": 0}
    assert set(sampled("tpe", budget_sampler=budget_sampler, **numbers).architectures) == set(few)


def test_tpe_leaves_to_others_what_they_are_evaluating() -> None:
    propose = partial(sampler_of("tpe", population=1, num_mutations=0, num_crossovers=0).propose, index=1)
    first = propose([])
    assert propose([EvaluationRecord(0, first.architecture, "running")]) != first


# NSGA-II


def front_of(architectures: Sequence[Architecture]) -> set[Architecture]:
    costs, scores = [*map(macs, architectures)], [*map(fitness, architectures)]
    return {architectures[place] for place in pareto_front(costs, scores)}


@pytest.mark.learns
def test_nsga2_finds_the_front_in_a_quarter_of_the_evaluations_of_random_search() -> None:
    front = front_of(WITHIN)
    assert len(front) == 7 and len(WITHIN) > 2800

    def share(name: str, evaluations: int, seed: int) -> float:
        return len(front & set(sampled(name, seed, evaluations=evaluations).architectures)) / len(front)

    ours = [share("nsga2", 200, seed) for seed in range(8)]
    chance = [share("random", 800, seed) for seed in range(8)]
    assert np.mean(ours) > 0.82 and np.mean(chance) < 0.52  # five standard deviations, of means of eight


def test_nsga2_makes_its_children_by_our_operators() -> None:
    assert sampled("nsga2").origins == ["random"] * 20 + (["mutation"] * 8 + ["crossover"] * 8 + ["random"] * 4) * 2


@pytest.mark.parametrize("parents", [3, 10, 20])
def test_parents_are_those_of_optunas_own_nsga2(parents: int) -> None:
    """Which keeps the generations in its own way."""
    ours = sampler_of("nsga2", evaluations=100, num_parents=parents)
    assert isinstance(ours, NSGA2Sampler)
    history = sample(ours).history
    theirs = NSGAIISampler(population_size=parents)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=theirs)
    for record in history:
        generation = {NSGAIISampler._get_generation_key(): record.index // 20}
        values = values_of(ours, record.architecture, fitness)
        study.add_trial(optuna.create_trial(values=values, system_attrs=generation))
    for generation in range(1, 6):
        numbers = [record.index for record in ours.select_parents(history[: 20 * generation], generation)]
        assert numbers == sorted(trial.number for trial in theirs.get_parent_population(study, generation))
        assert len(numbers) == parents and max(numbers) < 20 * generation
