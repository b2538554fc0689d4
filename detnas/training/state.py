"""The state of a training: all that decides how it goes on and is no function of the seed and the step."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from detnas.config import TrainingSettings
from detnas.models.supernet import ChoiceBlock
from detnas.training.ema import WeightEMA
from detnas.training.schedules import build_optimizer


class TrainingState:
    """A training after `step` steps."""

    def __init__(self, model: nn.Module, settings: TrainingSettings) -> None:
        self.model = model
        # Once: walking through the modules of a supernet in every step would take longer than it should.
        self.parameters = list(model.parameters())
        self.norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        self.optimizer = build_optimizer(model, settings)
        self.average = None if settings.ema_decay is None else WeightEMA(model, settings.ema_decay)
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
    """A model's BN statistics, which its forward passes change: kept, so that a step can be undone.

    Of a supernet those of the active ops, pass by pass: the others are not changed, and copying them all would take
    longer than it should.
    """

    def __init__(self, model: nn.Module) -> None:
        self.choices = [
            (block, [list(op.buffers()) for op in block.ops])
            for block in model.modules()
            if isinstance(block, ChoiceBlock)
        ]
        of_ops = {id(buffer) for _, ops in self.choices for op in ops for buffer in op}
        self.shared = [buffer for buffer in model.buffers() if id(buffer) not in of_ops]
        self.copies = {id(buffer): buffer.clone() for buffer in model.buffers()}
        self.kept: dict[int, Tensor] = {}

    def forget(self) -> None:
        self.kept = {}

    def keep(self) -> None:
        """Before a pass of a step: what it is going to change for the first time in this step."""
        ops = (buffer for block, ops in self.choices for buffer in ops[block.active])
        new = {id(buffer): buffer for buffer in (*self.shared, *ops) if id(buffer) not in self.kept}
        if new:
            torch._foreach_copy_([self.copies[key] for key in new], list(new.values()))
        self.kept |= new

    def restore(self) -> None:
        if self.kept:
            torch._foreach_copy_(list(self.kept.values()), [self.copies[key] for key in self.kept])
