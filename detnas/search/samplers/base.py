"""What is evaluated in each slot of the search, as Optuna's samplers are asked for it."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from detnas.config import SearchSettings
from detnas.search.study.trials import ORIGIN, distributions, index_of, parameters
from detnas.spaces import Architecture, BudgetSampler

TRIES = 100
"""Attempts at a new architecture within the budget, before a random one takes its place."""


class SpaceExhausted(Exception):
    """Every architecture within the budget has been evaluated."""


class Proposal(NamedTuple):
    """An architecture to evaluate, and where it came from: random, mutation, crossover, linear or tpe."""

    architecture: Architecture
    origin: str


class Sampler(BaseSampler):
    """Fills the *slots* of a search, which are the places in the sequence of its evaluations.

    What it proposes is within the budget of `sampler`, and nothing is proposed for two slots.
    """

    def __init__(self, sampler: BudgetSampler, settings: SearchSettings, seed: int) -> None:
        self.sampler = sampler
        self.settings = settings
        self.seed = seed

    @abstractmethod
    def propose(self, study: Study, slot: int) -> Proposal:
        """What is evaluated in `slot`. Raises `SpaceExhausted` when nothing new is left for it."""

    def merits(self, architectures: Sequence[Architecture], fitness: Sequence[float]) -> list[float]:
        """By what the winner of those evaluated is chosen, the highest: fitness, unless a sampler knows better."""
        return list(fitness)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return distributions(self.sampler.space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """One op name a block."""
        proposal = self.propose(study, index_of(trial))
        study._storage.set_trial_user_attr(trial._trial_id, ORIGIN, proposal.origin)
        return parameters(proposal.architecture, self.sampler.space)

    def sample_independent(self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> Any:
        raise ValueError(f"{name} is no block of space {self.sampler.space.name}")
