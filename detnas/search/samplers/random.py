"""Random search."""

from functools import cached_property

import numpy as np

from detnas.search.samplers.base import History, Proposal, Sampler, SpaceExhausted
from detnas.spaces import Architecture
from detnas.utils.seeds import derive_seed


class RandomSampler(Sampler):
    """Draws each architecture uniformly within the budget; a function of the seed alone."""

    @cached_property
    def _drawn(self) -> dict[Architecture, Proposal]:
        """What has been proposed so far, in its order."""
        return {one: Proposal(one, "incumbent") for one in self.incumbents}

    def propose_new(self, history: History, index: int) -> Proposal:
        while len(self._drawn) <= index:
            rng = np.random.default_rng(derive_seed(self.seed, "search", len(self._drawn)))
            architecture = self.budget_sampler.sample(rng, self._drawn.keys())
            if architecture is None:
                raise SpaceExhausted
            self._drawn[architecture] = Proposal(architecture, "random")
        return list(self._drawn.values())[index]
