"""The networks that a recipe's winner is compared with."""

from collections.abc import Callable
from functools import partial

import numpy as np

from detnas.config import Recipe
from detnas.config.recipe import RANDOM
from detnas.models.backbone import Subnet
from detnas.models.create import Network, build_published
from detnas.spaces import Architecture, BudgetSampler, Cost
from detnas.utils.seeds import derive_seed


def baselines(recipe: Recipe, sampler: BudgetSampler) -> dict[str, Callable[[], Network]]:
    """What makes each of the recipe's baselines, by name; `sampler` draws within the recipe's budget."""
    makers: dict[str, Callable[[], Network]] = {}
    for name in recipe.baselines:
        if name in RANDOM:
            makers[name] = partial(Subnet, sampler.space, _drawn(RANDOM[name], recipe.seed, sampler))
        elif name == "shuffle3":
            makers[name] = partial(Subnet, sampler.space, sampler.space.uniform(name))
        else:
            makers[name] = partial(build_published, name)
    return makers


def network_cost(network: Network, sampler: BudgetSampler) -> Cost:
    """By the sampler's table, which may know latencies; of a network outside its space, MACs and parameters."""
    if isinstance(network, Subnet) and network.space == sampler.space:
        return sampler.table.cost(network.architecture.ops)
    return network.cost(sampler.budget.size)


def _drawn(number: int, seed: int, sampler: BudgetSampler) -> Architecture:
    """The `number`-th of independent draws, whichever of the others the recipe names; none comes twice unless the
    budget holds too few."""
    drawn: list[Architecture] = []
    for draw in range(1, number + 1):
        words = ("random baseline",) if draw == 1 else ("random baseline", str(draw))
        rng = np.random.default_rng(derive_seed(seed, *words))
        architecture = sampler.sample(rng, seen=frozenset(drawn)) or sampler.sample(rng)
        assert architecture is not None  # the sampler refuses a budget that holds nothing
        drawn.append(architecture)
    return drawn[-1]
