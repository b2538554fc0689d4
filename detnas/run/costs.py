"""What the networks of a run cost."""

from detnas.config import Recipe
from detnas.models.backbone import Subnet
from detnas.models.create import Network
from detnas.spaces import BudgetSampler, Cost
from detnas.spaces.cost import total


def detector_cost(network: Network, recipe: Recipe) -> dict[str, Cost]:
    """What the whole detector around a network costs, by part."""
    parts = recipe.detector_parts(dict(zip(network.strides, network.channels, strict=True)))
    return {"backbone": network.cost(recipe.image_size), "pyramid": parts.pyramid, "heads": parts.heads}


def network_cost(network: Network, recipe: Recipe, sampler: BudgetSampler) -> Cost:
    """What the recipe's budget bounds, of a network; with a latency if the sampler's table has any and the network is
    in its space."""
    if isinstance(network, Subnet) and network.space == sampler.space:
        return sampler.table.cost(network.architecture.ops)
    if recipe.budget.of == "backbone":
        return network.cost(recipe.budget.size)
    return total(detector_cost(network, recipe).values())
