"""The samplers by name: what all of them keep to, and what each is for."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np
import optuna
import pytest
from optuna.samplers import NSGAIISampler
from optuna.trial import FrozenTrial, TrialState

from detnas.config import SearchSettings
from detnas.evaluation.metrics.pareto import pareto_front
from detnas.search.samplers.base import Sampler, SpaceExhausted
from detnas.search.samplers.registry import SAMPLERS
from detnas.search.study.slots import enqueue
from detnas.search.study.trials import ORIGIN, architecture_of, distributions, index_of
from detnas.spaces import PAPER_OPS, Architecture, Budget, BudgetSampler, SearchSpace

optuna.logging.set_verbosity(optuna.logging.WARNING)

SPACE = SearchSpace("toy", 4, (8, 16, 24, 32), (2, 1, 2, 1))
EVERY = [SPACE.architecture(ops) for ops in itertools.product(range(len(PAPER_OPS)), repeat=6)]
GAINS = np.random.default_rng(0).random((6, len(PAPER_OPS)))
NAMES = ("evolution", "nsga2", "linear", "tpe", "random")


def macs(architecture: Architecture) -> int:
    return SPACE.cost(architecture).macs


BOUND = float(np.quantile([macs(architecture) for architecture in EVERY], 0.7))
SAMPLER = BudgetSampler(SPACE, Budget(macs=(0, BOUND)))
WITHIN = [architecture for architecture in EVERY if macs(architecture) <= BOUND]


def fitness(architecture: Architecture) -> float:
    return float(GAINS[range(6), list(architecture.ops)].mean())


def sampler_of(name: str, seed: int = 0, sampler: BudgetSampler = SAMPLER, **changes: Any) -> Sampler:
    numbers = {"evaluations": 60, "population": 20, "num_parents": 10, "num_mutations": 8, "num_crossovers": 8}
    settings = SearchSettings(sampler=name, second_objective="macs" if name == "nsga2" else None, **(numbers | changes))
    return SAMPLERS[name](sampler, settings, seed)


def directions(name: str) -> list[str]:
    return ["maximize", "minimize"] if name == "nsga2" else ["maximize"]


def values(name: str, architecture: Architecture) -> list[float]:
    return [fitness(architecture), macs(architecture)][: len(directions(name))]


def study_of(name: str, seed: int = 0, **changes: Any) -> optuna.Study:
    """A plain Optuna study with the sampler; its trials are the slots."""
    proposer = sampler_of(name, seed, **changes)
    study = optuna.create_study(sampler=proposer, directions=directions(name))

    def objective(trial: optuna.Trial) -> Sequence[float]:
        ops = [PAPER_OPS.index(trial.suggest_categorical(block, PAPER_OPS)) for block in distributions(SPACE)]
        return values(name, SPACE.architecture(ops))

    study.optimize(objective, n_trials=proposer.settings.evaluations)
    return study


def searched(name: str, seed: int = 0, **changes: Any) -> list[Architecture]:
    return [architecture_of(trial, SPACE) for trial in study_of(name, seed, **changes).trials]


def origins(study: optuna.Study) -> list[str]:
    return [trial.user_attrs[ORIGIN] for trial in study.trials]


def test_there_is_a_sampler_for_every_name() -> None:
    assert tuple(SAMPLERS) == NAMES == get_args(SearchSettings.model_fields["sampler"].annotation)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_comes_twice_all_is_within_the_budget_and_a_seed_is_a_study(name: str) -> None:
    found = searched(name)
    assert len(set(found)) == 60 and set(found) <= set(WITHIN)
    assert searched(name) == found
    assert set(searched(name, seed=1)[:20]).isdisjoint(found[:20])
    assert found[:20] == searched("random")[:20]  # all begin with the same draws


@pytest.mark.parametrize("name", NAMES)
def test_each_ends_with_the_space(name: str) -> None:
    costs = sorted(map(macs, EVERY))
    few = BudgetSampler(SPACE, Budget(macs=(0, costs[7])))
    count = sum(cost <= costs[7] for cost in costs)
    told = {"sampler": few, "population": 4, "num_mutations": 2, "num_crossovers": 1}
    assert len(set(searched(name, evaluations=count, **told))) == count
    with pytest.raises(SpaceExhausted):
        study_of(name, evaluations=count + 1, **told)


# Random search


def test_a_random_slot_depends_on_the_seed_alone() -> None:
    """Whoever fills it, in whatever order, and whatever the fitness of the others."""
    nothing = optuna.create_study(direction="maximize")
    expected = [sampler_of("random").propose(nothing, slot) for slot in range(60)]
    assert [one.architecture for one in expected] == searched("random")
    assert {one.origin for one in expected} == {"random"}
    late = sampler_of("random")
    assert [late.propose(nothing, slot) for slot in (41, 3, 59)] == [expected[slot] for slot in (41, 3, 59)]


def test_random_search_is_a_first_generation_of_all_evaluations() -> None:
    assert searched("random") == searched("evolution", population=60)


# TPE


def test_tpe_learns_from_what_is_finished() -> None:
    study = study_of("tpe")
    assert origins(study)[:20] == ["random"] * 20 and origins(study)[20:].count("tpe") > 30
    fitnesses = [fitness(architecture_of(trial, SPACE)) for trial in study.trials]
    assert np.mean(fitnesses[40:]) > np.mean(fitnesses[:20]) + np.std(fitnesses[:20])


def test_tpe_draws_at_random_where_all_that_it_wants_is_outside_the_budget() -> None:
    costs = sorted(map(macs, EVERY))
    sampler = BudgetSampler(SPACE, Budget(macs=(costs[2000], costs[2001])))
    few = [architecture for architecture in EVERY if sampler.allows(architecture)]
    study = study_of("tpe", sampler=sampler, evaluations=len(few), population=1, num_mutations=0, num_crossovers=0)
    assert {architecture_of(trial, SPACE) for trial in study.trials} == set(few)


def test_tpe_leaves_to_others_what_they_are_evaluating() -> None:
    study = optuna.create_study(direction="maximize")
    first = sampler_of("tpe", population=1, num_mutations=0, num_crossovers=0).propose(study, 1)
    enqueue(study, 0, first, SPACE)
    study.ask()
    assert sampler_of("tpe", population=1, num_mutations=0, num_crossovers=0).propose(study, 1) != first


# NSGA-II


def front_of(architectures: Sequence[Architecture]) -> set[Architecture]:
    costs, scores = [*map(macs, architectures)], [*map(fitness, architectures)]
    return {architectures[place] for place in pareto_front(costs, scores)}


def test_nsga2_finds_the_front_in_a_quarter_of_the_evaluations_of_random_search() -> None:
    front = front_of(WITHIN)
    assert len(front) == 7 and len(WITHIN) > 2800

    def share(name: str, evaluations: int, seed: int) -> float:
        return len(front & set(searched(name, seed, evaluations=evaluations))) / len(front)

    ours = [share("nsga2", 200, seed) for seed in range(3)]
    chance = [share("random", 800, seed) for seed in range(3)]
    assert min(ours) > 0.8 and np.mean(ours) > 0.9 and max(chance) < 0.5


def test_nsga2_makes_its_children_by_our_operators() -> None:
    assert origins(study_of("nsga2")) == ["random"] * 20 + (["mutation"] * 8 + ["crossover"] * 8 + ["random"] * 4) * 2


@pytest.mark.parametrize("parents", [3, 10, 20])
def test_parents_are_those_of_optunas_own_nsga2(parents: int) -> None:
    """Which keeps the generations in its own way."""
    study = study_of("nsga2", evaluations=100, num_parents=parents)
    theirs = NSGAIISampler(population_size=parents)
    reference = optuna.create_study(directions=directions("nsga2"), sampler=theirs)
    for trial in study.trials:
        generation = {NSGAIISampler._get_generation_key(): index_of(trial) // 20}
        reference.add_trial(
            optuna.create_trial(
                values=trial.values, params=trial.params, distributions=trial.distributions, system_attrs=generation
            )
        )
    ours = study.sampler
    assert isinstance(ours, NSGAIISampler)

    def chosen(sampler: NSGAIISampler, study: optuna.Study, generation: int) -> list[int]:
        return sorted(trial.number for trial in sampler.get_parent_population(study, generation))

    for generation in range(1, 6):
        numbers = chosen(ours, study, generation)
        assert numbers == chosen(theirs, reference, generation)
        assert len(numbers) == parents and max(numbers) < 20 * generation


@pytest.mark.parametrize("name", ["evolution", "nsga2", "linear", "random"])
def test_processes_that_take_turns_in_any_order_make_the_same_study(name: str) -> None:
    """Each has a sampler of its own; candidates end in another order than they began."""
    storage = optuna.storages.InMemoryStorage()
    optuna.create_study(study_name="search", storage=storage, directions=directions(name))
    rng = np.random.default_rng(3)
    for generation in range(3):
        for place in rng.permutation(20).tolist():
            mine = optuna.load_study(study_name="search", storage=storage)
            slot = 20 * generation + place
            enqueue(mine, slot, sampler_of(name).propose(mine, slot), SPACE)
        mine = optuna.load_study(study_name="search", storage=storage)
        asked = [mine.ask() for _ in range(20)]
        for place in rng.permutation(20).tolist():
            mine.tell(asked[place], values(name, architecture_of(asked[place], SPACE)))
    trials = optuna.load_study(study_name="search", storage=storage).get_trials(states=[TrialState.COMPLETE])
    by_slot: Callable[[FrozenTrial], int] = index_of
    assert [architecture_of(trial, SPACE) for trial in sorted(trials, key=by_slot)] == searched(name)
