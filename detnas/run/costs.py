"""What the networks of a run cost."""

from detnas.config import Recipe
from detnas.models.backbone import Backbone, Subnet
from detnas.models.create import Network
from detnas.spaces import BudgetSampler, Cost, Size
from detnas.spaces.cost import total


def detector_cost(network: Network, recipe: Recipe) -> tuple[Size, dict[str, Cost]]:
    """What the whole detector around a network costs, by part, and the size of the image for which that is counted."""
    channels = dict(zip(network.strides, network.channels, strict=True))
    parts = recipe.detector_parts(channels, resolution_of(network))
    return parts.size, {"backbone": network.cost(parts.size), "pyramid": parts.pyramid, "heads": parts.heads}


def resolution_of(backbone: Backbone) -> int | None:
    """The resolution of a network whose space has a choice, else None."""
    return backbone.architecture.resolution if isinstance(backbone, Subnet) else None


def network_cost(network: Network, recipe: Recipe, sampler: BudgetSampler) -> Cost:
    """What the recipe's budget bounds, of a network; with a latency if the sampler's tables have any and the network is
    in its space."""
    if isinstance(network, Subnet) and network.space == sampler.space:
        return sampler.cost(network.architecture)
    if recipe.budget.of == "backbone":
        return network.cost(recipe.budget.size)
    return total(detector_cost(network, recipe)[1].values())
