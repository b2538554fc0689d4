"""The paper's evolutionary search, as an Optuna sampler."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseGASampler
from optuna.trial import FrozenTrial, TrialState

from detnas.config import SearchSettings
from detnas.searching.trials import ORIGIN, architecture_of, distributions, parameters, slot_of
from detnas.seeds import seed_of
from detnas.spaces import OPS, Architecture, BudgetSampler

TRIES = 100
"""Attempts at a new child within the budget, before a random architecture takes its place."""


class SpaceExhausted(Exception):
    """Every architecture within the budget has been evaluated."""


class Proposal(NamedTuple):
    """An architecture to evaluate, and where it came from: random, mutation or crossover."""

    architecture: Architecture
    origin: str


class EvolutionSampler(BaseGASampler):
    """Generations of `population` architectures: the first random; then mutants, crossovers and fresh random ones.

    Parents are the best of all history before the generation. No architecture within the budget is proposed twice. A
    trial evaluates a *slot*: a place in the sequence of proposals, which are a function of the seed and of the earlier
    generations' values alone. So they are the same whichever process makes them, and in whatever order a generation is
    evaluated; only it must not begin before the one before it is complete.
    """

    def __init__(self, sampler: BudgetSampler, settings: SearchSettings, seed: int) -> None:
        super().__init__(population_size=settings.population)
        self.sampler = sampler
        self.settings = settings
        self.seed = seed
        self._made: dict[int, list[Proposal]] = {}

    def propose(self, study: Study, slot: int) -> Proposal:
        """What is evaluated in `slot`. Raises `SpaceExhausted` when nothing new is left for it."""
        generation, place = divmod(slot, self.settings.population)
        if generation not in self._made:
            self._made = {generation: self._generation(study, generation)}
        proposals = self._made[generation]
        if place >= len(proposals):
            raise SpaceExhausted
        return proposals[place]

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return distributions(self.sampler.space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """One op name a block."""
        proposal = self.propose(study, slot_of(trial))
        study._storage.set_trial_user_attr(trial._trial_id, ORIGIN, proposal.origin)
        return parameters(proposal.architecture)

    def sample_independent(self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> Any:
        raise ValueError(f"{name} is no block of space {self.sampler.space.name}")

    def select_parent(self, study: Study, generation: int) -> list[FrozenTrial]:
        """The best of all earlier generations; of equals, the earlier."""
        finished = [trial for trial in self._before(study, generation) if trial.state == TrialState.COMPLETE]
        return sorted(finished, key=lambda trial: (-_value(trial), slot_of(trial)))[: self.settings.parents]

    def get_trial_generation(self, study: Study, trial: FrozenTrial) -> int:
        return slot_of(trial) // self.settings.population

    def _before(self, study: Study, generation: int) -> list[FrozenTrial]:
        """The trials of the earlier generations."""
        trials = study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.params and self.get_trial_generation(study, trial) < generation]

    def _generation(self, study: Study, generation: int) -> list[Proposal]:
        """All of a generation; fewer than the population when the budget holds no more."""
        # In the order of their slots: Optuna gives them as selected at first, and later in the order of its storage.
        parents = [
            architecture_of(parent, self.sampler.space)
            for parent in sorted(self.get_parent_population(study, generation), key=slot_of)
        ]
        seen = {architecture_of(trial, self.sampler.space) for trial in self._before(study, generation)}
        proposals: list[Proposal] = []
        for place in range(self.settings.population):
            slot = generation * self.settings.population + place
            proposal = self._proposal(place, parents, seen, np.random.default_rng(seed_of(self.seed, "search", slot)))
            if proposal is None:
                break
            proposals.append(proposal)
            seen.add(proposal.architecture)
        return proposals

    def _proposal(
        self, place: int, parents: Sequence[Architecture], seen: AbstractSet[Architecture], rng: np.random.Generator
    ) -> Proposal | None:
        """A new architecture for this place of a generation; None if nothing new is left."""
        if parents and place < self.settings.mutants + self.settings.crossovers:
            origin = "mutation" if place < self.settings.mutants else "crossover"
            for _ in range(TRIES):
                child = self._mutant(parents, rng) if origin == "mutation" else self._crossover(parents, rng)
                if child not in seen and self.sampler.allows(child):
                    return Proposal(child, origin)
        fresh = self.sampler.sample(rng, seen)
        return None if fresh is None else Proposal(fresh, "random")

    def _mutant(self, parents: Sequence[Architecture], rng: np.random.Generator) -> Architecture:
        """A parent, each op drawn anew (possibly the same) with the mutation probability."""
        ops = np.array(parents[int(rng.integers(len(parents)))].ops)
        anew = rng.random(len(ops)) < self.settings.mutation_probability
        return self.sampler.space.architecture(np.where(anew, rng.integers(len(OPS), size=len(ops)), ops).tolist())

    def _crossover(self, parents: Sequence[Architecture], rng: np.random.Generator) -> Architecture:
        """Each op from either of two parents, which may be the same."""
        first, second = (parents[place].ops for place in rng.integers(len(parents), size=2))
        return self.sampler.space.architecture(np.where(rng.random(len(first)) < 0.5, first, second).tolist())


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value
