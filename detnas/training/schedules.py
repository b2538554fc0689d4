"""Optimizers and learning rate schedules."""

from math import cos, pi

import torch
from torch import nn

from detnas.config import TrainingSettings
from detnas.models.backbone import Backbone

NORMS = (nn.BatchNorm2d, nn.GroupNorm)


def learning_rate(settings: TrainingSettings, step: int) -> float:
    """The learning rate of `step` (from 0), before any factor of a parameter group."""
    progress = step / settings.steps
    if settings.schedule == "linear":
        factor = 1 - progress
    elif settings.schedule == "cosine":
        factor = (1 + cos(pi * progress)) / 2
    else:
        factor = 0.1 ** sum(progress >= milestone for milestone in settings.milestones)
    if step < settings.warmup:
        factor *= (1 + 2 * step / settings.warmup) / 3
    return settings.lr * factor


def build_optimizer(model: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """SGD or AdamW with three parameter groups: weights, scales of norms, and biases; and if the backbone has a rate of
    its own, with three more for it.

    Each group has an `lr_factor`, by which `set_learning_rate` multiplies its rate. Both optimizers skip parameters
    without a gradient, so that an op that did not run gets neither momentum nor weight decay.
    """
    of_backbone = {id(one) for part in model.modules() if isinstance(part, Backbone) for one in part.parameters()}
    decays = {"weights": settings.weight_decay, "norms": settings.weight_decay * settings.decay_norms, "biases": 0.0}
    groups: dict[tuple[str, float], list[nn.Parameter]]
    groups = {(kind, factor): [] for factor in (1.0, settings.backbone_lr_factor) for kind in decays}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            kind = "biases" if name == "bias" else "norms" if isinstance(module, NORMS) else "weights"
            groups[kind, settings.backbone_lr_factor if id(parameter) in of_backbone else 1.0].append(parameter)
    parameters = [
        {
            "params": group,
            "weight_decay": decays[kind],
            "lr_factor": factor * (settings.bias_lr_factor if kind == "biases" else 1.0),
        }
        for (kind, factor), group in groups.items()
    ]
    if settings.optimizer == "adamw":
        # The fused update of many small tensors takes a quarter of the time. Torch's fused SGD fails where some
        # parameters have momentum and others, of ops that have not run yet, have none.
        return torch.optim.AdamW(parameters, lr=settings.lr, fused=True)
    return torch.optim.SGD(parameters, lr=settings.lr, momentum=settings.momentum)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of each parameter group: `rate` times the group's `lr_factor`."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_factor"]
