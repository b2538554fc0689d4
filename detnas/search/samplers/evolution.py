"""The paper's evolutionary search."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from detnas.search.samplers.base import TRIES, History, Proposal
from detnas.search.samplers.generational import GenerationalSampler, Propose
from detnas.spaces import Architecture, SearchSpace


class EvolutionSampler(GenerationalSampler):
    """After the first generation, makes children by mutation and by crossover, and fills up with random ones."""

    def select_parents(self, earlier: History, generation: int) -> History:
        """The finished evaluations that a generation descends from: the best of all earlier generations; of equals,
        the earlier."""
        finished = [record for record in earlier if record.state == "finished"]
        return sorted(finished, key=lambda record: (-record.fitness, record.index))[: self.settings.num_parents]

    def proposer(self, earlier: History, generation: int) -> Propose | None:
        selected = sorted(self.select_parents(earlier, generation), key=lambda record: record.index)
        parents = [record.architecture for record in selected]
        mutations, children = self.settings.num_mutations, self.settings.num_mutations + self.settings.num_crossovers

        def propose(place: int, seen: AbstractSet[Architecture], rng: np.random.Generator) -> Proposal | None:
            for _ in range(TRIES if place < children else 0):
                if place < mutations:
                    child = mutate(self.space, parents, self.settings.mutation_probability, rng)
                else:
                    child = crossover(self.space, parents, rng)
                if child not in seen and self.budget_sampler.allows(child):
                    return Proposal(child, "mutation" if place < mutations else "crossover")
            return self.propose_random(seen, rng)

        return propose if parents else None


def mutate(
    space: SearchSpace, parents: Sequence[Architecture], probability: float, rng: np.random.Generator
) -> Architecture:
    """A parent, each of whose choices is drawn again (possibly the same) with `probability`."""
    chosen = np.array(space.encode(parents[int(rng.integers(len(parents)))]))
    again = rng.random(len(chosen)) < probability
    return space.decode(np.where(again, space.encode(space.draw(rng)), chosen).tolist())


def crossover(space: SearchSpace, parents: Sequence[Architecture], rng: np.random.Generator) -> Architecture:
    """Each choice from either of two parents, which may be the same."""
    first, second = (space.encode(parents[place]) for place in rng.integers(len(parents), size=2))
    return space.decode(np.where(rng.random(len(first)) < 0.5, first, second).tolist())
