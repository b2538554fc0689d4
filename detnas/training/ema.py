"""Averaged weights: an exponential moving average over the steps of a training."""

from typing import Any

import torch
from torch import Tensor, nn

WARM_UP = 9


class WeightEMA:
    """The moving average of what a model's steps trained: parameters, and the BN statistics beside them.

    An op that did not run keeps its average as it keeps its weights. The n-th update of a tensor (from 0) keeps
    min(`decay`, n / (n + 9)) of its average, so that it begins with what was trained first, and not with what was
    drawn at random; for as long as the first term is the larger it looks back on about a tenth of the updates.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = model
        self.decay = decay
        self.parts = [module for module in model.modules() if next(module.parameters(recurse=False), None) is not None]
        self.names = {id(tensor): name for name, tensor in model.state_dict(keep_vars=True).items()}
        self.averages: dict[str, Tensor] = {}
        """Of what has been trained at all, by name."""
        self.updates: dict[str, int] = {}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step: those that have a gradient, and the buffers of the same modules."""
        for module in self.parts:
            trained: list[Tensor] = [p for p in module.parameters(recurse=False) if p.grad is not None]
            if trained:
                trained += [buffer for buffer in module.buffers(recurse=False) if buffer.is_floating_point()]
            for tensor in trained:
                self._take_in(self.names[id(tensor)], tensor)

    def _take_in(self, name: str, tensor: Tensor) -> None:
        count = self.updates.get(name, 0)
        if count == 0:
            self.averages[name] = tensor.detach().clone()
        else:
            self.averages[name].lerp_(tensor, 1 - min(self.decay, count / (count + WARM_UP)))
        self.updates[name] = count + 1

    def weights(self) -> dict[str, Tensor]:
        """The model's state: averages, and as they are those tensors that no step has trained."""
        return {**self.model.state_dict(), **self.averages}

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights(), "updates": dict(self.updates)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        device = next(self.model.parameters()).device
        self.updates = dict(state["updates"])
        self.averages = {name: state["weights"][name].to(device) for name in self.updates}
