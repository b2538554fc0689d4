"""A candidate made once more without the product's code: what that is compared with."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from detnas.spaces import Architecture


def inherit_naively(model: nn.Module, supernet: nn.Module, architecture: Architecture) -> None:
    """Give `model`, of the plain network of `architecture`, the weights of `supernet`, by their names."""
    weights = {}
    for name in model.state_dict():
        source = name
        if ".blocks." in name:
            head, tail = name.split(".blocks.")
            block, rest = tail.split(".", 1)
            source = f"{head}.blocks.{block}.ops.{architecture.ops[int(block)]}.{rest}"
        weights[name] = supernet.state_dict()[source]
    model.load_state_dict(weights)


def own_norms(model: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """Those whose statistics are to be the candidate's own, by name: all but the box head's behind RoI pooling."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d) and not name.startswith("roi_heads.")
    }


def calibrate_naively(model: nn.Module, batches: Iterable[Any]) -> None:
    """Train-mode passes of its own norms alone; each gets the mean of what its batches had."""
    norms = own_norms(model).values()
    seen: dict[nn.Module, list[tuple[torch.Tensor, torch.Tensor]]] = {norm: [] for norm in norms}

    def hook(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        seen[module].append((inputs[0].mean(dim=(0, 2, 3)), inputs[0].var(dim=(0, 2, 3))))

    model.eval()
    handles = [norm.train().register_forward_hook(hook) for norm in norms]
    with torch.no_grad():
        for batch in batches:
            model(batch)
    for handle in handles:
        handle.remove()
    for norm, rows in seen.items():
        norm.running_mean.copy_(torch.stack([mean for mean, _ in rows]).mean(dim=0))
        norm.running_var.copy_(torch.stack([var for _, var in rows]).mean(dim=0))
    model.eval()
