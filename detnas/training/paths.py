"""The paths of a supernet that each training step trains, as a function of the seed and the step."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from math import ceil

import numpy as np

from detnas.spaces import Architecture, Budget, BudgetSampler, SearchSpace
from detnas.utils.errors import UserError


class PathSampler:
    """Draws the paths of `space` that a step trains.

    By default it is one path, uniformly from the whole space, or from what `budget` allows. With `edges`, one of the
    bins between them is drawn, and then a path within it: a bin has the paths with at least its lower edge and less
    than its upper edge of MACs, for images of `size` x `size` pixels. With bins, cheap and expensive paths are trained
    as often as those of medium cost, which are most of the space. The official code uses such bins in supernet
    pre-training; the paper's text does not mention them.

    If `fair`, a step has as many paths as there are ops, which together contain every op of every block exactly once:
    strict fairness (Chu et al., FairNAS, arXiv:1907.01845, section 3.2). At a block that can be fewer ops, each of them
    is contained more often, see `SearchSpace.fair_draw`.

    Raises `UserError` for a bin without a path, with a message that starts with `field`.
    """

    def __init__(
        self,
        space: SearchSpace,
        edges: Sequence[float] | None,
        fair: bool,
        size: int,
        field: str,
        budget: BudgetSampler | None = None,
    ) -> None:
        self.space = space
        self.fair = fair
        self.bins = [budget] if budget else []
        try:
            for low, high in pairwise(edges or ()):
                # Costs are whole numbers.
                self.bins.append(BudgetSampler(space, Budget(macs=(low, ceil(high) - 1), size=size)))
        except UserError as error:
            raise UserError(f"{field}: {str(error).removeprefix('budget.macs: ')}") from None

    def draw(self, rng: np.random.Generator) -> list[Architecture]:
        """The paths of one step."""
        if self.fair:
            return self.space.fair_draw(rng)
        if not self.bins:
            return [self.space.draw(rng)]
        path = self.bins[int(rng.integers(len(self.bins)))].sample(rng)
        assert path is not None  # a sampler refuses a budget that holds nothing
        return [path]


def path_chooser(
    activate: Callable[[Architecture], None], paths: PathSampler, seed_of_step: Callable[[int], int]
) -> Callable[[int], Iterator[None]]:
    """A function that activates, for a given step, a path of the supernet before each pass."""

    def choose(step: int) -> Iterator[None]:
        for path in paths.draw(np.random.default_rng(seed_of_step(step))):
            activate(path)
            yield

    return choose
