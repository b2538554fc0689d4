"""A search in generations, each of which learns from the earlier ones."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from detnas.search.samplers.base import History, Proposal, Sampler, SpaceExhausted
from detnas.spaces import Architecture
from detnas.utils.seeds import derive_seed

Propose = Callable[[int, AbstractSet[Architecture], np.random.Generator], Proposal | None]
"""(place, seen, rng) -> an architecture that is not in `seen`, for a place in a generation; None if none is left."""


class GenerationalSampler(Sampler):
    """Makes generations of `population` architectures, the first of them random but for the incumbents.

    Proposals depend on the records of earlier generations, not on the order in which a generation is evaluated.
    """

    _made: tuple[int, History, Sequence[Proposal]] = (-1, [], [])
    """The latest generation: its number, what it was made from, and its proposals."""

    @abstractmethod
    def proposer(self, earlier: History, generation: int) -> Propose | None:
        """What proposes a generation, given the records of all earlier ones; None if they tell nothing."""

    @property
    def generation_size(self) -> int:
        return self.settings.population

    def propose_new(self, history: History, index: int) -> Proposal:
        generation, place = divmod(index, self.settings.population)
        earlier = [record for record in history if record.index < generation * self.settings.population]
        if self._made[:2] != (generation, earlier):
            self._made = generation, earlier, self._generation(earlier, generation)
        if place >= len(self._made[2]):
            raise SpaceExhausted
        return self._made[2][place]

    def propose_random(self, seen: AbstractSet[Architecture], rng: np.random.Generator) -> Proposal | None:
        """A random architecture that is not in `seen`; None if nothing new is left."""
        architecture = self.budget_sampler.sample(rng, seen)
        return None if architecture is None else Proposal(architecture, "random")

    def _generation(self, earlier: History, generation: int) -> list[Proposal]:
        """All proposals of a generation; fewer than the population where the budget holds no more."""
        propose = self.proposer(earlier, generation)
        seen = self.seen(earlier)
        proposals = [Proposal(one, "incumbent") for one in self.incumbents] if generation == 0 else []
        for place in range(len(proposals), self.settings.population):
            index = generation * self.settings.population + place
            rng = np.random.default_rng(derive_seed(self.seed, "search", index))
            proposal = propose(place, seen, rng) if propose else self.propose_random(seen, rng)
            if proposal is None:
                break
            proposals.append(proposal)
            seen.add(proposal.architecture)
        return proposals
