"""What the networks of a run cost."""

from detnas.config import DetectorSettings, Recipe
from detnas.models.backbone import Backbone, Subnet
from detnas.models.create import Network
from detnas.spaces import BudgetSampler, Cost, Size
from detnas.spaces.cost import total


def detector_cost(network: Network, recipe: Recipe) -> tuple[Size, dict[str, Cost]]:
    """What the whole detector around a network costs, by part, and the size of the image for which that is counted."""
    settings = detector_settings(network, recipe)
    size, channels = recipe.image_size(settings), dict(zip(network.strides, network.channels, strict=True))
    parts = settings.whole_parts(channels, recipe.classes, size)
    return size, {"backbone": network.cost(size), "pyramid": parts.pyramid, "heads": parts.heads}


def detector_settings(backbone: Backbone, recipe: Recipe) -> DetectorSettings:
    """The settings of the detector around a backbone: those of its architecture, if it is in the recipe's space."""
    if isinstance(backbone, Subnet) and backbone.space == recipe.search_space():
        return recipe.detector_of(backbone.architecture)
    return recipe.detector


def network_cost(network: Network, recipe: Recipe, sampler: BudgetSampler) -> Cost:
    """What the recipe's budget bounds, of a network; with a latency if the sampler's tables have any and the network is
    in its space."""
    if isinstance(network, Subnet) and network.space == sampler.space:
        return sampler.cost(network.architecture)
    if recipe.budget.of == "backbone":
        return network.cost(recipe.budget.size)
    return total(detector_cost(network, recipe)[1].values())
