"""Random search."""

import numpy as np
from optuna import Study

from detnas.config import SearchSettings
from detnas.search.samplers.base import Proposal, Sampler, SpaceExhausted
from detnas.spaces import Architecture, BudgetSampler
from detnas.utils.seeds import derive_seed


class RandomSampler(Sampler):
    """Every slot has a draw of its own, uniform within the budget; a function of the seed alone."""

    def __init__(self, sampler: BudgetSampler, settings: SearchSettings, seed: int) -> None:
        super().__init__(sampler, settings, seed)
        self._drawn: dict[Architecture, Proposal] = {}

    def propose(self, study: Study, slot: int) -> Proposal:
        while len(self._drawn) <= slot:
            rng = np.random.default_rng(derive_seed(self.seed, "search", len(self._drawn)))
            architecture = self.sampler.sample(rng, self._drawn.keys())
            if architecture is None:
                raise SpaceExhausted
            self._drawn[architecture] = Proposal(architecture, "random")
        return list(self._drawn.values())[slot]
