"""Parts of a backbone that a training leaves as they are."""

from itertools import chain

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from detnas.config import TrainingSettings
from detnas.models.backbone import Backbone


def freeze(model: nn.Module, settings: TrainingSettings) -> None:
    """Give the frozen parts of the backbone of `model`, which is in training mode, no gradient, and let their BN layers
    normalize by their own statistics."""
    for backbone in (module for module in model.modules() if isinstance(module, Backbone)):
        frozen: list[nn.Module] = []
        if settings.frozen_stages:
            frozen += chain(*backbone.parts[: settings.frozen_stages])
        if settings.frozen_norms:
            frozen += [module for module in backbone.modules() if isinstance(module, _BatchNorm)]
        for module in frozen:
            module.requires_grad_(False)
            module.eval()
