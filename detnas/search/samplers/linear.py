"""A search by a linear model of fitness, with Thompson sampling."""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from detnas.search.samplers.base import History, Proposal
from detnas.search.samplers.generational import GenerationalSampler, Propose
from detnas.search.samplers.linear_model import Floats, LinearModel
from detnas.spaces import Architecture, SearchSpace


class LinearSampler(GenerationalSampler):
    """After the first generation, each candidate is the best by a draw of what the ops add to fitness, from the
    posterior given the earlier generations (Thompson sampling).

    A candidate's fitness is measured with the supernet's weights. What is peculiar to one candidate there says little
    about the network; what an op adds over many candidates says more. So the search's best architecture, too, is the
    evaluated one that the model expects most of, and not the one with the highest fitness of its own.
    """

    def proposer(self, earlier: History, generation: int) -> Propose | None:
        known = {record.architecture: record.fitness for record in earlier if record.state == "finished"}
        if not known:
            return None
        model = LinearModel(self.space, list(known), list(known.values()))

        def propose(place: int, seen: AbstractSet[Architecture], rng: np.random.Generator) -> Proposal | None:
            start = self.budget_sampler.sample(rng, seen)
            if start is None:
                return None
            effects = model.effects(rng)
            best = climb(self.space, start, effects, lambda one: one not in seen and self.budget_sampler.allows(one))
            return Proposal(best, "linear")

        return propose

    def merits(self, architectures: Sequence[Architecture], fitness: Sequence[float]) -> list[float]:
        expected: list[float] = LinearModel(self.space, architectures, fitness).predict(architectures).tolist()
        return expected


def climb(
    space: SearchSpace, start: Architecture, effects: Floats, allowed: Callable[[Architecture], bool]
) -> Architecture:
    """Climb from `start` to an allowed architecture of which no allowed one that differs in one or two choices is
    better, by the sum of the `effects` (choices, options) of what it has. Each step is to the best of these neighbors.

    Two choices, because between close bounds on a cost no single one may be free to change.
    """
    choices, options = np.array([(place, one) for place, all in enumerate(space.choices) for one in all]).T
    first, second = np.triu_indices(len(choices))
    a_step = (choices[first] != choices[second]) | (first == second)
    first, second = first[a_step], second[a_step]
    while True:
        chosen = np.array(space.encode(start))
        gain = effects[choices, options] - effects[choices, chosen[choices]]
        gains = np.where(first == second, gain[first], gain[first] + gain[second])
        for step in np.argsort(-gains, kind="stable")[: int((gains > 0).sum())]:
            stepped = chosen.copy()
            stepped[choices[[first[step], second[step]]]] = options[[first[step], second[step]]]
            higher = space.decode(stepped.tolist())
            if allowed(higher):
                start = higher
                break
        else:
            return start
