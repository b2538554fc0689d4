"""The baselines: the networks that the winner is compared with."""

from collections.abc import Callable
from functools import partial

import numpy as np

from detnas.config import Recipe
from detnas.config.recipe import RANDOM
from detnas.models.backbone import Subnet
from detnas.models.create import Network, build_published
from detnas.spaces import Architecture, BudgetSampler
from detnas.spaces.published import PUBLISHED
from detnas.utils.seeds import derive_seed


def baseline_builders(
    recipe: Recipe, sampler: BudgetSampler, build: Callable[[Architecture], Subnet]
) -> dict[str, Callable[[], Network]]:
    """Functions that build the recipe's baselines, by name; `sampler` draws within the recipe's budget, and `build`
    builds those of its space."""
    around = partial(sampler.space.around, resolution=recipe.detector.min_size)
    builders: dict[str, Callable[[], Network]] = {}
    for name in recipe.baselines:
        if name in RANDOM:
            builders[name] = partial(build, _draw(RANDOM[name], recipe.seed, sampler))
        elif name == "shuffle3":
            builders[name] = partial(build, around(sampler.space.uniform(name)))
        elif name in PUBLISHED and PUBLISHED[name].space == sampler.space.backbones:
            builders[name] = partial(build, around(PUBLISHED[name].architecture))
        else:
            builders[name] = partial(build_published, name)
    return builders


def _draw(number: int, seed: int, sampler: BudgetSampler) -> Architecture:
    """The `number`-th random baseline, from 1: the same whatever others are named, new while the budget allows."""
    drawn: list[Architecture] = []
    for draw in range(1, number + 1):
        words = ("random baseline",) if draw == 1 else ("random baseline", str(draw))
        rng = np.random.default_rng(derive_seed(seed, *words))
        architecture = sampler.sample(rng, seen=frozenset(drawn)) or sampler.sample(rng)
        assert architecture is not None  # the sampler refuses a budget that holds nothing
        drawn.append(architecture)
    return drawn[-1]
