"""Parts of a backbone that a training leaves as they are."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from detnas.config import TrainingSettings
from detnas.models.backbone import SpaceBackbone, find_backbone


def freeze(model: nn.Module, settings: TrainingSettings) -> None:
    """Give the frozen parts of the backbone of `model`, which is in training mode, no gradient, and let their BN layers
    normalize by their own statistics."""
    backbone = find_backbone(model)
    frozen: list[nn.Module] = []
    if settings.frozen_norms:
        frozen += [module for module in backbone.modules() if isinstance(module, _BatchNorm)]
    if settings.frozen_stages:
        assert isinstance(backbone, SpaceBackbone)
        stages = (
            block
            for block, place in zip(backbone.blocks, backbone.space.blocks, strict=True)
            if place.stage < settings.frozen_stages - 1
        )
        frozen += [backbone.stem, *stages]
    for part in frozen:
        part.requires_grad_(False)
        part.eval()
