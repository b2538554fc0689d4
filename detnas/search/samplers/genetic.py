"""A search in generations, whose children descend from parents of the earlier ones."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np
from optuna import Study
from optuna.samplers import BaseGASampler
from optuna.trial import FrozenTrial, TrialState

from detnas.config import SearchSettings
from detnas.search.samplers.base import TRIES, Proposal
from detnas.search.samplers.generational import GenerationalSampler, Propose
from detnas.search.samplers.operators import crossover, mutate
from detnas.search.study.trials import architecture_of, index_of
from detnas.spaces import Architecture, BudgetSampler


class GeneticSampler(GenerationalSampler, BaseGASampler):
    """After the first generation: mutants, crossovers and fresh random ones.

    Who is a parent, `select_parent` of the subclass says.
    """

    def __init__(self, sampler: BudgetSampler, settings: SearchSettings, seed: int) -> None:
        super().__init__(sampler, settings, seed)
        self.population_size = settings.population

    def get_trial_generation(self, study: Study, trial: FrozenTrial) -> int:
        return self.generation_of(trial)

    def get_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        """What is finished of a generation, in the order of the slots."""
        finished = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
        return sorted((trial for trial in finished if self.generation_of(trial) == generation), key=index_of)

    def get_parent_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        """In the order of the slots: Optuna gives them as selected at first, and later in the order of its storage."""
        return sorted(super().get_parent_population(study, generation), key=index_of)

    def proposer(self, study: Study, generation: int) -> Propose | None:
        space = self.sampler.space
        parents = [architecture_of(parent, space) for parent in self.get_parent_population(study, generation)]

        def propose(place: int, seen: AbstractSet[Architecture], rng: np.random.Generator) -> Proposal | None:
            if place < self.settings.num_mutations + self.settings.num_crossovers:
                origin = "mutation" if place < self.settings.num_mutations else "crossover"
                for _ in range(TRIES):
                    child = self._child(origin, parents, rng)
                    if child not in seen and self.sampler.allows(child):
                        return Proposal(child, origin)
            return self.fresh(seen, rng)

        return propose if parents else None

    def _child(self, origin: str, parents: Sequence[Architecture], rng: np.random.Generator) -> Architecture:
        space = self.sampler.space
        if origin == "mutation":
            return mutate(space, parents, self.settings.mutation_probability, rng)
        return crossover(space, parents, rng)
