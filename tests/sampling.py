"""Drives a sampler without a study: proposals are evaluated one after another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detnas.config import SearchSettings
from detnas.search.samplers import SAMPLERS
from detnas.search.samplers.base import EvaluationRecord, Proposal, Sampler
from detnas.spaces import PAPER_OPS, Architecture, Budget, BudgetSampler, SearchSpace

SPACE = SearchSpace("toy", 4, (8, 16, 24, 32), (2, 1, 2, 1))
GAINS = np.random.default_rng(0).random((6, len(PAPER_OPS)))


@dataclass
class Sampled:
    """What a sampler proposed, and the history at the end."""

    proposals: list[Proposal]
    history: list[EvaluationRecord]

    @property
    def architectures(self) -> list[Architecture]:
        return [proposal.architecture for proposal in self.proposals]

    @property
    def origins(self) -> list[str]:
        return [proposal.origin for proposal in self.proposals]

    @property
    def fitness(self) -> list[float]:
        return [record.fitness for record in self.history]


def fitness(architecture: Architecture) -> float:
    """A sum over the blocks of `SPACE`."""
    return float(GAINS[range(6), list(architecture.ops)].mean())


def settings_for(name: str, **changes: Any) -> SearchSettings:
    """Small settings of the sampler `name`."""
    small = {"evaluations": 40, "population": 8, "num_parents": 4, "num_mutations": 3, "num_crossovers": 3}
    second = "macs" if SAMPLERS[name].takes_second_objective else None
    return SearchSettings(sampler=name, second_objective=second, **(small | changes))


def make_sampler(name: str, seed: int = 0, budget_sampler: BudgetSampler | None = None, **changes: Any) -> Sampler:
    budget_sampler = budget_sampler or BudgetSampler(SPACE, Budget())
    return SAMPLERS[name](budget_sampler, settings_for(name, **changes), seed)


def values_of(
    sampler: Sampler, architecture: Architecture, fitness: Callable[[Architecture], float]
) -> Sequence[float]:
    """The objectives of an architecture."""
    cost = sampler.budget_sampler.cost(architecture).macs
    return (fitness(architecture), cost) if sampler.takes_second_objective else (fitness(architecture),)


def sample(sampler: Sampler, fitness: Callable[[Architecture], float] = fitness, count: int | None = None) -> Sampled:
    """Make `count` evaluations, by default all of the settings; where `fitness` raises a ValueError, one has failed."""
    sampled = Sampled([], [])
    for index in range(sampler.settings.evaluations if count is None else count):
        proposal = sampler.propose(sampled.history, index)
        sampled.proposals.append(proposal)
        try:
            values = tuple(values_of(sampler, proposal.architecture, fitness))
            record = EvaluationRecord(index, proposal.architecture, "finished", values)
        except ValueError:
            record = EvaluationRecord(index, proposal.architecture, "failed")
        sampled.history.append(record)
    return sampled
