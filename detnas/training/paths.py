"""The paths of a supernet that each training step trains, as a function of the seed and the step."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from math import ceil

import numpy as np

from detnas.spaces import Architecture, Budget, BudgetSampler, SearchSpace
from detnas.utils.errors import UserError

INTERVALS = 8
"""Into which the costs within a budget are divided."""


class PathSampler:
    """Draws the paths of `space` that a step trains.

    By default it is one path, uniformly from the whole space. With `samplers`, one of these is drawn, and a path by it:
    from what a budget allows, or from one of several bins of cost (`bin_samplers`, `interval_samplers`). With bins,
    cheap and expensive paths are trained as often as those of medium cost, which are most of the space.

    If `is_sandwich`, there is also a path by the first and one by the last of `samplers`: the sandwich rule (Yu and
    Huang, arXiv:1903.05134, section 3.1), which trains the narrowest and the widest network in every step.

    If `is_fair`, a step has as many paths as there are ops, which together contain every op of every block exactly
    once: strict fairness (Chu et al., FairNAS, arXiv:1907.01845, section 3.2). At a block that can be fewer ops, each
    of them is contained more often, see `SearchSpace.fair_draw`.
    """

    def __init__(
        self,
        space: SearchSpace,
        samplers: Sequence[BudgetSampler] = (),
        *,
        is_sandwich: bool = False,
        is_fair: bool = False,
    ) -> None:
        self.space = space
        self.samplers = samplers
        self.is_sandwich = is_sandwich
        self.is_fair = is_fair

    def draw(self, rng: np.random.Generator) -> list[Architecture]:
        """The paths of one step."""
        if self.is_fair:
            return self.space.fair_draw(rng)
        if not self.samplers:
            return [self.space.draw(rng)]
        chosen = [int(rng.integers(len(self.samplers)))]
        if self.is_sandwich:
            chosen = [0, len(self.samplers) - 1, *chosen]
        paths = [self.samplers[index].sample(rng) for index in chosen]
        return [path for path in paths if path is not None]  # all: a sampler refuses a budget that holds nothing


def interval_samplers(sampler: BudgetSampler) -> list[BudgetSampler]:
    """A sampler for each of `INTERVALS` equal intervals of the costs within a budget, the cheapest first, as far as
    they hold paths. Of several bounded costs it is the first that is divided."""
    return sampler.intervals(sampler.bounded[0], INTERVALS)


def bin_samplers(space: SearchSpace, edges: Sequence[float], size: int, field: str) -> list[BudgetSampler]:
    """A sampler for each bin between `edges`: of the paths with at least its lower edge and less than its upper edge of
    the backbone's MACs, for images of `size` x `size` pixels. The official code uses such bins in supernet
    pre-training; the paper's text does not mention them.

    Raises `UserError` for a bin without a path, in a message that starts with `field`.
    """
    try:
        # Costs are whole numbers.
        return [BudgetSampler(space, Budget(macs=(low, ceil(high) - 1), size=size)) for low, high in pairwise(edges)]
    except UserError as error:
        raise UserError(f"{field}: {str(error).removeprefix('budget.macs: ')}") from None


def path_chooser(
    activate: Callable[[Architecture], None], paths: PathSampler, seed_of_step: Callable[[int], int]
) -> Callable[[int], Iterator[None]]:
    """A function that activates, for a given step, a path of the supernet before each pass."""

    def choose(step: int) -> Iterator[None]:
        for path in paths.draw(np.random.default_rng(seed_of_step(step))):
            activate(path)
            yield

    return choose
