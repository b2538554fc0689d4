"""A search by a linear model of fitness, with Thompson sampling."""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

import numpy as np
from optuna import Study
from optuna.trial import TrialState

from detnas.search.samplers.base import Proposal
from detnas.search.samplers.generational import GenerationalSampler, Propose
from detnas.search.samplers.linear_model import Floats, LinearModel
from detnas.search.study.trials import architecture_of, fitness_of, index_of
from detnas.spaces import Architecture, SearchSpace


class LinearSampler(GenerationalSampler):
    """After the first generation each candidate is the best by a draw of what the ops add to fitness, from the
    posterior given the earlier generations (Thompson sampling).

    A candidate's fitness is known by weights of the supernet alone. What is peculiar to the one candidate there says
    little of a network; what an op adds over many candidates says more. So the winner, too, is the best by the model of
    those evaluated, and not the one whose own fitness is the highest.
    """

    def proposer(self, study: Study, generation: int) -> Propose | None:
        finished = [trial for trial in self.before(study, generation) if trial.state == TrialState.COMPLETE]
        if not finished:
            return None
        space = self.sampler.space
        known = {architecture_of(trial, space): fitness_of(trial) for trial in sorted(finished, key=index_of)}
        model = LinearModel(space, list(known), list(known.values()))

        def propose(place: int, seen: AbstractSet[Architecture], rng: np.random.Generator) -> Proposal | None:
            start = self.sampler.sample(rng, seen)
            if start is None:
                return None
            effects = model.effects(rng)
            best = climbed(space, start, effects, lambda one: one not in seen and self.sampler.allows(one))
            return Proposal(best, "linear")

        return propose

    def merits(self, architectures: Sequence[Architecture], fitness: Sequence[float]) -> list[float]:
        expected: list[float] = LinearModel(self.sampler.space, architectures, fitness).predict(architectures).tolist()
        return expected


def climbed(
    space: SearchSpace, start: Architecture, effects: Floats, allowed: Callable[[Architecture], bool]
) -> Architecture:
    """Where steps lead from `start`, each to the best of the allowed architectures that differ in one block or in two,
    until none is better: by the sum of the `effects` (blocks, ops) of their ops.

    Two, because between close bounds on a cost no single block may be free to change.
    """
    blocks, ops = np.indices(effects.shape).reshape(2, -1)
    first, second = np.triu_indices(len(blocks))
    a_step = (blocks[first] != blocks[second]) | (first == second)
    first, second = first[a_step], second[a_step]
    while True:
        gain = (effects - np.take_along_axis(effects, np.array(start.ops)[:, None], axis=1)).ravel()
        gains = np.where(first == second, gain[first], gain[first] + gain[second])
        for step in np.argsort(-gains, kind="stable")[: int((gains > 0).sum())]:
            stepped = np.array(start.ops)
            stepped[blocks[[first[step], second[step]]]] = ops[[first[step], second[step]]]
            higher = space.architecture(stepped.tolist())
            if allowed(higher):
                start = higher
                break
        else:
            return start
