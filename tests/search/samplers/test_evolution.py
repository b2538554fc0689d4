"""The paper's evolution: who descends from whom, what is never repeated, when it ends, and that it helps."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from sampling import sample

from detnas.config import SearchSettings
from detnas.search.samplers.base import SpaceExhausted
from detnas.search.samplers.evolution import EvolutionSampler
from detnas.spaces import PAPER_OPS, Architecture, Budget, BudgetSampler, SearchSpace, search_space

SMALL = search_space("small")
FOUR_BLOCKS = SearchSpace("four-blocks", 4, (8, 12, 16, 20), (1, 1, 1, 1))
SETTINGS = SearchSettings(evaluations=100, population=20, num_parents=5, num_mutations=8, num_crossovers=8)


@dataclass
class Candidate:
    architecture: Architecture
    origin: str
    fitness: float


def additive(space: SearchSpace, seed: int = 0) -> Callable[[Architecture], float]:
    """A fitness that is a sum over the blocks; its optimum is `best`."""
    gains = np.random.default_rng(seed).random((len(space.blocks), len(PAPER_OPS)))

    def fitness(architecture: Architecture) -> float:
        return float(gains[range(len(gains)), list(architecture.ops)].sum() / gains.max(axis=1).sum())

    return fitness


def sampled(
    budget_sampler: BudgetSampler, settings: SearchSettings, fitness: Callable[[Architecture], float], seed: int = 0
) -> list[Candidate]:
    """The candidates that the sampler proposes, by index."""
    found = sample(EvolutionSampler(budget_sampler, settings, seed), fitness)
    return [Candidate(*one) for one in zip(found.architectures, found.origins, found.fitness, strict=True)]


@pytest.fixture(scope="module")
def wide() -> BudgetSampler:
    return BudgetSampler(SMALL, Budget())


@pytest.fixture(scope="module")
def bounded() -> BudgetSampler:
    return BudgetSampler(SMALL, Budget(macs=(280e6, 300e6)))


@pytest.fixture(scope="module")
def candidates(wide: BudgetSampler) -> list[Candidate]:
    return sampled(wide, SETTINGS, additive(SMALL))


def parents_of(candidates: list[Candidate], generation: int) -> list[Architecture]:
    """The best of all history before a generation."""
    history = candidates[: generation * SETTINGS.population]
    best = sorted(range(len(history)), key=lambda index: (-history[index].fitness, index))[: SETTINGS.num_parents]
    return [history[index].architecture for index in best]


def distance(one: Architecture, other: Architecture) -> int:
    return sum(a != b for a, b in zip(one.ops, other.ops, strict=True))


def test_generations_are_made_as_the_paper_says(candidates: list[Candidate]) -> None:
    generations = [candidates[start : start + 20] for start in range(0, 100, 20)]
    assert [one.origin for one in generations[0]] == ["random"] * 20
    for generation in generations[1:]:
        assert [one.origin for one in generation] == ["mutation"] * 8 + ["crossover"] * 8 + ["random"] * 4


def test_the_defaults_are_the_papers() -> None:
    defaults = SearchSettings()
    numbers = (
        defaults.evaluations,
        defaults.population,
        defaults.num_parents,
        defaults.num_mutations,
        defaults.num_crossovers,
    )
    assert numbers == (1000, 50, 10, 20, 20) and defaults.mutation_probability == 0.1


def test_mutants_are_near_a_parent(candidates: list[Candidate]) -> None:
    for generation in range(1, 5):
        parents = parents_of(candidates, generation)
        for child in candidates[generation * 20 : generation * 20 + 8]:
            # Of 20 genes 1.5 change on average; more than 8 of them once in a million.
            assert 1 <= min(distance(child.architecture, parent) for parent in parents) <= 8


def test_each_gene_of_a_crossover_is_that_of_one_of_its_two_parents(candidates: list[Candidate]) -> None:
    mixed = 0
    for generation in range(1, 5):
        parents = parents_of(candidates, generation)
        for child in candidates[generation * 20 + 8 : generation * 20 + 16]:
            pairs = [
                (one, other)
                for one, other in itertools.combinations(parents, 2)
                if all(op in genes for op, *genes in zip(child.architecture.ops, one.ops, other.ops, strict=True))
            ]
            assert pairs
            mixed += min(distance(child.architecture, parent) for pair in pairs for parent in pair) >= 2
    assert mixed > 16  # of 32: they are not copies of one parent


def test_random_ones_are_near_no_parent(candidates: list[Candidate]) -> None:
    nearest = [
        min(distance(child.architecture, parent) for parent in parents_of(candidates, generation))
        for generation in range(1, 5)
        for child in candidates[generation * 20 + 16 : generation * 20 + 20]
    ]
    assert np.mean(nearest) > 10


def test_parents_come_from_all_history_not_from_the_last_generation(wide: BudgetSampler) -> None:
    """The best are in the first generation; the later ones are made worthless."""
    count = itertools.count()
    fitness = additive(SMALL)
    found = sampled(wide, SETTINGS, lambda a: fitness(a) if next(count) < 20 else -1.0)
    first = parents_of(found, 1)
    for generation in range(1, 5):
        assert parents_of(found, generation) == first
        for child in found[generation * 20 : generation * 20 + 8]:
            assert min(distance(child.architecture, parent) for parent in first) <= 8


def test_nothing_is_evaluated_twice_and_all_is_within_the_budget(bounded: BudgetSampler) -> None:
    found = [one.architecture for one in sampled(bounded, SETTINGS, additive(SMALL))]
    assert len(set(found)) == 100
    assert all(280e6 <= SMALL.cost(architecture).macs <= 300e6 for architecture in found)


def test_a_seed_is_a_search(wide: BudgetSampler, candidates: list[Candidate]) -> None:
    again = sampled(wide, SETTINGS, additive(SMALL))
    other = sampled(wide, SETTINGS, additive(SMALL), seed=1)
    assert again == candidates
    assert not {one.architecture for one in other} & {one.architecture for one in candidates[:20]}


def test_a_generation_without_new_children_is_filled_with_random_ones(wide: BudgetSampler) -> None:
    """A single parent that never mutates: all its children have been seen."""
    told = SETTINGS.model_copy(update={"evaluations": 40, "num_parents": 1, "mutation_probability": 1e-12})
    found = sampled(wide, told, additive(SMALL))
    assert [one.origin for one in found] == ["random"] * 40
    assert len({one.architecture for one in found}) == 40


def tiny_budget() -> tuple[BudgetSampler, set[Architecture]]:
    """A budget that holds a few architectures of four blocks, and all of them."""
    everything = [FOUR_BLOCKS.architecture(ops) for ops in itertools.product(range(4), repeat=4)]
    costs = sorted(FOUR_BLOCKS.cost(architecture).macs for architecture in everything)
    budget = Budget(macs=(costs[100], costs[117]))
    return BudgetSampler(FOUR_BLOCKS, budget), {a for a in everything if budget.allows(FOUR_BLOCKS.cost(a))}


def test_the_search_ends_when_every_architecture_has_been_evaluated_once() -> None:
    sampler, within = tiny_budget()
    told = SETTINGS.model_copy(
        update={"evaluations": len(within), "population": 5, "num_mutations": 2, "num_crossovers": 2}
    )
    found = [one.architecture for one in sampled(sampler, told, additive(FOUR_BLOCKS))]
    assert len(found) == len(within) >= 18 and set(found) == within
    with pytest.raises(SpaceExhausted):
        sampled(sampler, told.model_copy(update={"evaluations": len(within) + 1}), additive(FOUR_BLOCKS))


@pytest.mark.learns
def test_evolution_finds_better_than_random_does(wide: BudgetSampler) -> None:
    """Of the possible gain over the mean, at equal evaluations, over eight seeds."""
    found, drawn = [], []
    for seed in range(8):
        fitness = additive(SMALL, seed)
        told = SETTINGS.model_copy(update={"evaluations": 160})
        found.append(max(one.fitness for one in sampled(wide, told, fitness, seed)))
        rng = np.random.default_rng(seed)
        drawn.append(max(fitness(SMALL.architecture(rng.integers(4, size=20).tolist())) for _ in range(160)))
    assert np.mean(found) > np.mean(drawn) + 0.04
    assert np.mean(found) > 0.88


def test_the_best_of_a_small_space_is_found_before_half_of_it_is_seen() -> None:
    sampler = BudgetSampler(FOUR_BLOCKS, Budget())
    told = SETTINGS.model_copy(update={"evaluations": 100, "population": 10, "num_mutations": 4, "num_crossovers": 4})
    assert [max(one.fitness for one in sampled(sampler, told, additive(FOUR_BLOCKS, s), s)) for s in range(3)] == [
        1.0
    ] * 3
