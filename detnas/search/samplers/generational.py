"""A search in generations, each of which learns from the earlier ones."""

from abc import abstractmethod
from collections.abc import Set as AbstractSet
from typing import Protocol

import numpy as np
from optuna import Study
from optuna.trial import FrozenTrial

from detnas.config import SearchSettings
from detnas.search.samplers.base import Proposal, Sampler, SpaceExhausted
from detnas.search.study.trials import architecture_of, index_of
from detnas.spaces import Architecture, BudgetSampler
from detnas.utils.seeds import derive_seed


class Propose(Protocol):
    """Gives an architecture that is not in `seen` for a place of a generation; None if nothing new is left."""

    def __call__(self, place: int, seen: AbstractSet[Architecture], rng: np.random.Generator) -> Proposal | None: ...


class GenerationalSampler(Sampler):
    """Generations of `population` architectures, the first random.

    Proposals are a function of the seed and of the earlier generations' values alone. So they are the same whichever
    process makes them, and in whatever order a generation is evaluated; only it must not begin before the one before it
    is complete.
    """

    def __init__(self, sampler: BudgetSampler, settings: SearchSettings, seed: int) -> None:
        super().__init__(sampler, settings, seed)
        self._made: dict[int, list[Proposal]] = {}

    @abstractmethod
    def proposer(self, study: Study, generation: int) -> Propose | None:
        """What proposes a generation, given the earlier ones; None if nothing is known from them."""

    def propose(self, study: Study, slot: int) -> Proposal:
        generation, place = divmod(slot, self.settings.population)
        if generation not in self._made:
            self._made = {generation: self._generation(study, generation)}
        proposals = self._made[generation]
        if place >= len(proposals):
            raise SpaceExhausted
        return proposals[place]

    def generation_of(self, trial: FrozenTrial) -> int:
        return index_of(trial) // self.settings.population

    def before(self, study: Study, generation: int) -> list[FrozenTrial]:
        """The trials of the earlier generations."""
        trials = study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.params and self.generation_of(trial) < generation]

    def fresh(self, seen: AbstractSet[Architecture], rng: np.random.Generator) -> Proposal | None:
        """One at random; None if nothing new is left."""
        architecture = self.sampler.sample(rng, seen)
        return None if architecture is None else Proposal(architecture, "random")

    def _generation(self, study: Study, generation: int) -> list[Proposal]:
        """All of a generation; fewer than the population when the budget holds no more."""
        propose = self.proposer(study, generation)
        seen = {architecture_of(trial, self.sampler.space) for trial in self.before(study, generation)}
        proposals: list[Proposal] = []
        for place in range(self.settings.population):
            slot = generation * self.settings.population + place
            rng = np.random.default_rng(derive_seed(self.seed, "search", slot))
            proposal = propose(place, seen, rng) if propose else self.fresh(seen, rng)
            if proposal is None:
                break
            proposals.append(proposal)
            seen.add(proposal.architecture)
        return proposals
