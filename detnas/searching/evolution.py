"""The paper's evolutionary search, as an Optuna sampler."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseGASampler
from optuna.trial import FrozenTrial, Trial, TrialState

from detnas.config import SearchSettings
from detnas.seeds import seed_of
from detnas.spaces import OPS, Architecture, BudgetSampler, SearchSpace

SLOT = "slot"
ORIGIN = "origin"
TRIES = 100
"""Attempts at a new child within the budget, before a random architecture takes its place."""


class SpaceExhausted(Exception):
    """Every architecture within the budget has been evaluated."""


class EvolutionSampler(BaseGASampler):
    """Generations of `population` architectures: the first random; then mutants, crossovers and fresh random ones.

    Parents are the best of all history. No architecture within the budget is evaluated twice. A trial occupies a
    *slot*: its place in the sequence of evaluations. What is drawn for a slot depends on the seed, the slot and the
    finished trials, so that a slot which a killed process left is filled with the same architecture again.
    """

    def __init__(self, sampler: BudgetSampler, settings: SearchSettings, seed: int) -> None:
        super().__init__(population_size=settings.population)
        self.sampler = sampler
        self.settings = settings
        self.seed = seed

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """The choices of each block, as Optuna wants them."""
        return {name: CategoricalDistribution(OPS) for name in block_names(self.sampler.space)}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """One op name a block. Raises `SpaceExhausted` when nothing new is left."""
        slot = self._take_slot(study, trial)
        generation = self.get_trial_generation(study, trial)
        # In the order of their slots: Optuna gives them as selected at first, and later in the order of its storage.
        parents = [
            architecture_of(parent, self.sampler.space)
            for parent in sorted(self.get_parent_population(study, generation), key=slot_of)
        ]
        seen = {architecture_of(other, self.sampler.space) for other in _occupied(study, trial)}
        rng = np.random.default_rng(seed_of(self.seed, "search", slot))
        architecture, origin = self._propose(slot % self.settings.population, parents, seen, rng)
        study._storage.set_trial_user_attr(trial._trial_id, ORIGIN, origin)
        return {name: OPS[op] for name, op in zip(search_space, architecture.ops, strict=True)}

    def sample_independent(self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> Any:
        raise ValueError(f"{name} is no block of space {self.sampler.space.name}")

    def select_parent(self, study: Study, generation: int) -> list[FrozenTrial]:
        """The best of all history; of equals, the earlier."""
        finished = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
        return sorted(finished, key=lambda trial: (-_value(trial), slot_of(trial)))[: self.settings.parents]

    def get_trial_generation(self, study: Study, trial: FrozenTrial) -> int:
        return slot_of(trial) // self.settings.population

    def _take_slot(self, study: Study, trial: FrozenTrial) -> int:
        """The first slot that no finished or running trial occupies."""
        taken = {slot_of(other) for other in _occupied(study, trial)}
        slot = next(slot for slot in range(len(taken) + 1) if slot not in taken)
        study._storage.set_trial_user_attr(trial._trial_id, SLOT, slot)
        trial.set_user_attr(SLOT, slot)
        return slot

    def _propose(
        self, place: int, parents: Sequence[Architecture], seen: set[Architecture], rng: np.random.Generator
    ) -> tuple[Architecture, str]:
        """A new architecture for this place of a generation, and where it came from."""
        if parents and place < self.settings.mutants + self.settings.crossovers:
            origin = "mutation" if place < self.settings.mutants else "crossover"
            for _ in range(TRIES):
                child = self._mutant(parents, rng) if origin == "mutation" else self._crossover(parents, rng)
                if child not in seen and self.sampler.allows(child):
                    return child, origin
        fresh = self.sampler.sample(rng, seen)
        if fresh is None:
            raise SpaceExhausted
        return fresh, "random"

    def _mutant(self, parents: Sequence[Architecture], rng: np.random.Generator) -> Architecture:
        """A parent, each op drawn anew (possibly the same) with the mutation probability."""
        ops = np.array(parents[int(rng.integers(len(parents)))].ops)
        anew = rng.random(len(ops)) < self.settings.mutation_probability
        return self.sampler.space.architecture(np.where(anew, rng.integers(len(OPS), size=len(ops)), ops).tolist())

    def _crossover(self, parents: Sequence[Architecture], rng: np.random.Generator) -> Architecture:
        """Each op from either of two parents, which may be the same."""
        first, second = (parents[place].ops for place in rng.integers(len(parents), size=2))
        return self.sampler.space.architecture(np.where(rng.random(len(first)) < 0.5, first, second).tolist())


def block_names(space: SearchSpace) -> list[str]:
    """The Optuna parameter of each block: `stage1_block0` and so on."""
    return [
        f"stage{stage}_block{place}" for stage, repeats in enumerate(space.repeats, start=1) for place in range(repeats)
    ]


def architecture_of(trial: Trial | FrozenTrial, space: SearchSpace) -> Architecture:
    """The architecture that a trial evaluates."""
    return space.architecture([OPS.index(trial.params[name]) for name in block_names(space)])


def slot_of(trial: FrozenTrial) -> int:
    return int(trial.user_attrs[SLOT])


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value


def _occupied(study: Study, trial: FrozenTrial) -> list[FrozenTrial]:
    """The trials other than `trial` that count: finished or running."""
    states = (TrialState.COMPLETE, TrialState.RUNNING)
    others = study.get_trials(deepcopy=False, states=states)
    return [other for other in others if other.number != trial.number and SLOT in other.user_attrs]
