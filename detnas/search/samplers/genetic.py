"""A search in generations, whose children descend from parents of the earlier ones."""

from abc import abstractmethod
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from detnas.search.samplers.base import TRIES, History, Proposal
from detnas.search.samplers.generational import GenerationalSampler, Propose
from detnas.search.samplers.operators import crossover, mutate
from detnas.spaces import Architecture


class GeneticSampler(GenerationalSampler):
    """After the first generation, makes children by mutation and by crossover, and fills up with random ones."""

    @abstractmethod
    def select_parents(self, earlier: History, generation: int) -> History:
        """The finished evaluations that a generation descends from, given the records of all earlier ones."""

    def proposer(self, earlier: History, generation: int) -> Propose | None:
        selected = sorted(self.select_parents(earlier, generation), key=lambda record: record.index)
        parents = [record.architecture for record in selected]

        def propose(place: int, seen: AbstractSet[Architecture], rng: np.random.Generator) -> Proposal | None:
            if place < self.settings.num_mutations + self.settings.num_crossovers:
                origin = "mutation" if place < self.settings.num_mutations else "crossover"
                for _ in range(TRIES):
                    child = self._child(origin, parents, rng)
                    if child not in seen and self.budget_sampler.allows(child):
                        return Proposal(child, origin)
            return self.propose_random(seen, rng)

        return propose if parents else None

    def _child(self, origin: str, parents: Sequence[Architecture], rng: np.random.Generator) -> Architecture:
        if origin == "mutation":
            return mutate(self.space, parents, self.settings.mutation_probability, rng)
        return crossover(self.space, parents, rng)
