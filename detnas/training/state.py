"""The state of a training: all that determines how it continues and is not a function of the seed and the step."""

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
        self.settings = settings
        # Collected once: to walk through the modules of a supernet in every step would be slow.
        self.parameters = list(model.parameters())
        self.norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        self.optimizer = build_optimizer(model, settings)
        self.ema = None if settings.ema_decay is None else WeightEMA(model, settings.ema_decay)
        self.bn_statistics = BNStatistics(model)
        self.step = 0
        self.skipped = 0
        """The number of steps in a row, up to the last, that were skipped: their loss or gradient was not finite."""
        self.window: list[dict[str, float]] = []
        """The metrics of each step since the last row of the log, empty for a skipped step."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "skipped": self.skipped,
            "window": self.window,
        }
        return state if self.ema is None else state | {"ema": self.ema.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.skipped, self.window = state["step"], state["skipped"], state["window"]
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])

    def apply_ema(self) -> None:
        """Give the model the averaged weights, if there are any, when the training is over."""
        if self.ema is not None:
            self.model.load_state_dict(self.ema.weights())

    def find_non_finite(self) -> str | None:
        """The name of a weight, or of a value in the optimizer's state, that is not finite; None if all are finite."""
        tensors = self.model.state_dict()
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        for parameter, memory in self.optimizer.state.items():
            tensors |= {f"{names[id(parameter)]} ({key})": value for key, value in memory.items()}
        found = (name for name, value in tensors.items() if isinstance(value, Tensor) and not value.isfinite().all())
        return next(found, None)


class BNStatistics:
    """Copies of a model's BN statistics, which forward passes change, so that a step can be undone.

    Of a supernet only the statistics of the active ops are copied before each pass: the others do not change, and
    copying all of them would be slow.
    """

    def __init__(self, model: nn.Module) -> None:
        blocks = [module for module in model.modules() if isinstance(module, ChoiceBlock)]
        self.choices = [(block, [list(op.buffers()) for op in block.ops]) for block in blocks]
        of_ops = {id(buffer) for _, ops in self.choices for op in ops for buffer in op}
        self.shared = [buffer for buffer in model.buffers() if id(buffer) not in of_ops]
        self.copies = {id(buffer): buffer.clone() for buffer in model.buffers()}
        self.saved: dict[int, Tensor] = {}
        """The buffers of which there is a copy from before this step, by id."""

    def clear(self) -> None:
        """Begin a step: drop the copies of the last one."""
        self.saved = {}

    def save(self) -> None:
        """Copy what the next pass changes, unless an earlier pass of the step has changed it."""
        ops = (buffer for block, ops in self.choices for buffer in ops[block.active])
        new = {id(buffer): buffer for buffer in (*self.shared, *ops) if id(buffer) not in self.saved}
        if new:
            torch._foreach_copy_([self.copies[key] for key in new], list(new.values()))
        self.saved |= new

    def restore(self) -> None:
        """Undo what the passes of this step changed."""
        if self.saved:
            torch._foreach_copy_(list(self.saved.values()), [self.copies[key] for key in self.saved])
