"""A search in generations, whose children descend from parents of the earlier ones."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np
from optuna import Study
from optuna.samplers import BaseGASampler
from optuna.trial import FrozenTrial, TrialState

from detnas.config import SearchSettings
from detnas.searching.slot_sampler import TRIES, Proposal, SlotSampler, SpaceExhausted
from detnas.searching.trials import architecture_of, slot_of
from detnas.searching.variation import crossover, mutant
from detnas.seeds import seed_of
from detnas.spaces import Architecture, BudgetSampler


class GenerationSampler(SlotSampler, BaseGASampler):
    """Generations of `population` architectures: the first random; then mutants, crossovers and fresh random ones.

    Who is a parent, `select_parent` of the subclass says. Proposals are a function of the seed and of the earlier
    generations' values alone. So they are the same whichever process makes them, and in whatever order a generation is
    evaluated; only it must not begin before the one before it is complete.
    """

    def __init__(self, sampler: BudgetSampler, settings: SearchSettings, seed: int) -> None:
        super().__init__(sampler, settings, seed)
        self.population_size = settings.population
        self._made: dict[int, list[Proposal]] = {}

    def propose(self, study: Study, slot: int) -> Proposal:
        generation, place = divmod(slot, self.settings.population)
        if generation not in self._made:
            self._made = {generation: self._generation(study, generation)}
        proposals = self._made[generation]
        if place >= len(proposals):
            raise SpaceExhausted
        return proposals[place]

    def get_trial_generation(self, study: Study, trial: FrozenTrial) -> int:
        return slot_of(trial) // self.settings.population

    def get_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        """What is finished of a generation, in the order of the slots."""
        finished = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
        return sorted(
            (trial for trial in finished if self.get_trial_generation(study, trial) == generation), key=slot_of
        )

    def get_parent_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        """In the order of the slots: Optuna gives them as selected at first, and later in the order of its storage."""
        return sorted(super().get_parent_population(study, generation), key=slot_of)

    def before(self, study: Study, generation: int) -> list[FrozenTrial]:
        """The trials of the earlier generations."""
        trials = study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.params and self.get_trial_generation(study, trial) < generation]

    def _generation(self, study: Study, generation: int) -> list[Proposal]:
        """All of a generation; fewer than the population when the budget holds no more."""
        parents = [
            architecture_of(parent, self.sampler.space) for parent in self.get_parent_population(study, generation)
        ]
        seen = {architecture_of(trial, self.sampler.space) for trial in self.before(study, generation)}
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
                child = self._child(origin, parents, rng)
                if child not in seen and self.sampler.allows(child):
                    return Proposal(child, origin)
        fresh = self.sampler.sample(rng, seen)
        return None if fresh is None else Proposal(fresh, "random")

    def _child(self, origin: str, parents: Sequence[Architecture], rng: np.random.Generator) -> Architecture:
        space = self.sampler.space
        if origin == "mutation":
            return mutant(space, parents, self.settings.mutation_probability, rng)
        return crossover(space, parents, rng)
