"""An exponential moving average (EMA) of the weights over the steps of a training."""

from typing import Any

import torch
from torch import Tensor, nn

WARM_UP = 9


class WeightEMA:
    """The moving average of a model's parameters and BN statistics.

    Only what a step has trained is updated: an op of a supernet that did not run keeps its average, as it keeps its
    weights. The n-th update of a tensor (from 0) keeps min(`decay`, n / (n + 9)) of the average: the average starts
    from the weights after the first update, not from the random initial ones, and as long as n / (n + 9) is below
    `decay` it covers about the last tenth of the updates.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = model
        self.decay = decay
        self.modules = [module for module in model.modules() if list(module.parameters(recurse=False))]
        self.names = {id(tensor): name for name, tensor in model.state_dict(keep_vars=True).items()}
        self.averages: dict[str, Tensor] = {}
        """The averages of the tensors that have been trained, by name."""
        self.updates: dict[str, int] = {}
        """The number of updates of each average."""

    @torch.no_grad()
    def update(self) -> None:
        """Update the averages of the parameters with a gradient, and of the buffers of their modules, after a step."""
        for module in self.modules:
            trained: list[Tensor] = [p for p in module.parameters(recurse=False) if p.grad is not None]
            if trained:
                trained += [buffer for buffer in module.buffers(recurse=False) if buffer.is_floating_point()]
            for tensor in trained:
                self._update_tensor(self.names[id(tensor)], tensor)

    def _update_tensor(self, name: str, tensor: Tensor) -> None:
        count = self.updates.get(name, 0)
        if count == 0:
            self.averages[name] = tensor.detach().clone()
        else:
            self.averages[name].lerp_(tensor, 1 - min(self.decay, count / (count + WARM_UP)))
        self.updates[name] = count + 1

    def weights(self) -> dict[str, Tensor]:
        """The model's state dict, with the averages of all tensors that have been trained."""
        return {**self.model.state_dict(), **self.averages}

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights(), "updates": dict(self.updates)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        device = next(self.model.parameters()).device
        self.updates = dict(state["updates"])
        self.averages = {name: state["weights"][name].to(device) for name in self.updates}
