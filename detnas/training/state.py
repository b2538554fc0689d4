"""The state of a training: all that decides how it goes on and is no function of the seed and the step."""

from typing import Any

import torch
from torch import Tensor, nn

from detnas.config import TrainingSettings
from detnas.training.averaging import AveragedWeights
from detnas.training.schedules import build_optimizer


class TrainingState:
    """A training after `step` steps."""

    def __init__(self, model: nn.Module, settings: TrainingSettings) -> None:
        self.model = model
        self.optimizer = build_optimizer(model, settings)
        self.average = None if settings.ema_decay is None else AveragedWeights(model, settings.ema_decay)
        self.statistics = Statistics(model)
        self.step = 0
        self.skipped = 0
        """Steps in a row, up to the last, that were left out because a loss or gradient was not finite."""
        self.window: list[dict[str, float]] = []
        """The figures of the steps since the last row of the log; of a step that was left out none."""

    def state_dict(self) -> dict[str, Any]:
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "skipped": self.skipped,
            "window": self.window,
        }
        return state if self.average is None else state | {"average": self.average.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.skipped, self.window = state["step"], state["skipped"], state["window"]
        if self.average is not None:
            self.average.load_state_dict(state["average"])

    def use_average(self) -> None:
        """Give the model the averaged weights, if the training averages: it is over."""
        if self.average is not None:
            self.model.load_state_dict(self.average.weights())

    def not_finite(self) -> str | None:
        """The name of a tensor with values that are not finite, or None: what a checkpoint may hold."""
        tensors = self.model.state_dict()
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        for parameter, memory in self.optimizer.state.items():
            tensors |= {f"{names[id(parameter)]} ({key})": value for key, value in memory.items()}
        for name, value in tensors.items():
            if isinstance(value, Tensor) and not value.isfinite().all():
                return name
        return None


class Statistics:
    """A model's BN statistics, which its forward pass changes: kept, so that a step can be undone."""

    def __init__(self, model: nn.Module) -> None:
        self.buffers = list(model.buffers())
        self.kept = [buffer.clone() for buffer in self.buffers]

    def keep(self) -> None:
        # All at once: thousands of small copies would take longer than they should.
        if self.buffers:
            torch._foreach_copy_(self.kept, self.buffers)

    def restore(self) -> None:
        if self.buffers:
            torch._foreach_copy_(self.buffers, self.kept)
