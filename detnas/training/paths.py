"""Who chooses a supernet's path: drawn anew for every step, as a function of the seed and the step."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import ceil

import numpy as np

from detnas.errors import UserError
from detnas.models.backbone import Supernet
from detnas.models.warm_start import spread
from detnas.spaces import OPS, Architecture, Budget, BudgetSampler, SearchSpace


class PathSampler:
    """Draws paths of `space`: each equally often, or first one of the bins of `edges`, then a path within it.

    A bin holds what costs its lower edge or more multiply-adds and less than its upper edge, for pictures of `size` x
    `size` pixels. In bins, cheap and dear paths are trained as often as those of middling cost, which are most of the
    space. The official code bins the paths of supernet pre-training so; the paper's text knows no bins.

    Raises `UserError` for a bin that holds no path; its message begins with `field`.
    """

    def __init__(self, space: SearchSpace, edges: Sequence[float] | None, size: int, field: str) -> None:
        self.space = space
        self.bins: list[BudgetSampler] = []
        try:
            for low, high in pairwise(edges or ()):
                # Costs are whole numbers.
                self.bins.append(BudgetSampler(space, Budget(flops=(low, ceil(high) - 1), size=size)))
        except UserError as error:
            raise UserError(f"{field}: {str(error).removeprefix('budget.flops: ')}") from None

    def draw(self, rng: np.random.Generator) -> Architecture:
        if not self.bins:
            return self.space.architecture(rng.integers(len(OPS), size=sum(self.space.repeats)).tolist())
        path = self.bins[int(rng.integers(len(self.bins)))].sample(rng)
        assert path is not None  # a sampler refuses a budget that holds nothing
        return path


def path_chooser(
    supernet: Supernet, paths: PathSampler, seed_of_step: Callable[[int], int], warm_start: int
) -> Callable[[int], None]:
    """Activates a path of `supernet` before each step; for the first `warm_start` steps it is `shuffle3` throughout.

    `seed_of_step` gives the seed of a step's draw.
    """

    def choose(step: int) -> None:
        if step < warm_start:
            supernet.activate(supernet.space.uniform("shuffle3"))
            return
        if step == warm_start > 0:
            spread(supernet)
        supernet.activate(paths.draw(np.random.default_rng(seed_of_step(step))))

    return choose
