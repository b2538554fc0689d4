"""The one training loop: the four trainings differ in their task and in who chooses the path."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from detnas.config import TrainingSettings
from detnas.data.batches import batches
from detnas.errors import UserError
from detnas.files import read_json_lines, write_file, write_json, write_json_lines
from detnas.progress import Progress
from detnas.seeds import seed_of
from detnas.training.schedules import build_optimizer, learning_rate, set_learning_rate
from detnas.training.tasks import Task

LOG_EVERY = 10
CHECKPOINT = "checkpoint.pt"
DONE = "done.json"


def train(
    model: nn.Module,
    task: Task,
    settings: TrainingSettings,
    directory: Path,
    *,
    seed: int,
    device: torch.device,
    progress: Progress,
    before_step: Callable[[int], None] = lambda step: None,
) -> None:
    """Train `model` in place and leave checkpoint, metrics and `done.json` in `directory`.

    Continues from the checkpoint that it finds there, to the same bytes on a CPU as without the interruption: all
    that is random is a function of (seed, step). `before_step` is called before each step: a supernet's path is
    chosen there. Does nothing but load the weights if the training is already done.

    Raises `UserError` when the loss is not finite.
    """
    model.to(device)
    optimizer = build_optimizer(model, settings)
    start = _resume(model, optimizer, directory)
    if (directory / DONE).exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    log = MetricsLog(directory, start)
    model.train()
    stream = batches(
        task.samples,
        task.collate,
        batch=settings.batch,
        seed=seed,
        start=start,
        stop=settings.steps,
        workers=settings.workers,
    )
    with progress.task(directory.name, total=settings.steps, start=start) as bar:
        for step, batch in enumerate(stream, start=start):
            before_step(step)
            torch.manual_seed(seed_of(seed, "step", step))
            rate = learning_rate(settings, step)
            set_learning_rate(optimizer, rate)
            figures = train_step(model, task, batch, optimizer, settings, device)
            log.add(step + 1, {**figures, "lr": rate}, settings.batch)
            if not math.isfinite(figures["loss"]):
                raise UserError(
                    f"{directory}: the loss of step {step + 1} is {figures['loss']}; lower lr ({settings.lr:g}) or "
                    "set clip_norm, in a run of its own (another --out)"
                )
            bar.advance(f"loss {figures['loss']:.3f}")
            if (step + 1) % settings.checkpoint_every == 0 or step + 1 == settings.steps:
                # The log first: rows beyond the last checkpoint are dropped when a run continues.
                log.save()
                _save(model, optimizer, step + 1, directory)
    log.close()
    write_json(directory / DONE, {"seconds": log.seconds, "steps": settings.steps})


def train_step(
    model: nn.Module,
    task: Task,
    batch: Any,
    optimizer: torch.optim.Optimizer,
    settings: TrainingSettings,
    device: torch.device,
) -> dict[str, float]:
    """One update from one batch; returns the loss, its parts, and the task's figures."""
    with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
        parts, figures = task.losses(model, batch, device)
        loss = torch.stack(list(parts.values())).sum()
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    if settings.clip_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
    optimizer.step()
    # One transfer from the device for all figures.
    names = ["loss", *(f"loss_{name}" for name in parts), *figures]
    values = torch.stack([value.detach().float() for value in (loss, *parts.values(), *figures.values())])
    return dict(zip(names, values.tolist(), strict=True))


class MetricsLog:
    """Means of the figures over every few steps, to `metrics.jsonl` and TensorBoard."""

    def __init__(self, directory: Path, start: int) -> None:
        self.path = directory / "metrics.jsonl"
        # What a killed process logged beyond its last checkpoint is about to be computed again.
        self.rows = [row for row in read_json_lines(self.path) if row["step"] <= start]
        self.seconds = self.rows[-1]["seconds"] if self.rows else 0.0
        self.writer = SummaryWriter(str(directory), purge_step=start + 1)
        self.window: list[dict[str, float]] = []
        self.clock = time.perf_counter()

    def add(self, step: int, figures: dict[str, float], images: int) -> None:
        self.window.append(figures)
        if step % LOG_EVERY != 0:
            return
        elapsed = time.perf_counter() - self.clock
        self.clock += elapsed
        self.seconds += elapsed
        row = {name: sum(figures[name] for figures in self.window) / len(self.window) for name in figures}
        row["lr"] = figures["lr"]
        row["images_per_second"] = len(self.window) * images / elapsed
        for name, value in row.items():
            self.writer.add_scalar(name, value, step)
        self.rows.append({"step": step, "seconds": round(self.seconds, 3), **row})
        self.window = []

    def save(self) -> None:
        write_json_lines(self.path, self.rows)

    def close(self) -> None:
        self.writer.close()


def load_weights(model: nn.Module, directory: Path, part: str = "") -> None:
    """Load into `model` the weights of the checkpoint in `directory`, or those of its module named `part`."""
    prefix = f"{part}." if part else ""
    weights = _read(directory)["model"]
    model.load_state_dict({name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)})


def _save(model: nn.Module, optimizer: torch.optim.Optimizer, step: int, directory: Path) -> None:
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    write_file(directory / CHECKPOINT, lambda file: torch.save(state, file))


def _resume(model: nn.Module, optimizer: torch.optim.Optimizer, directory: Path) -> int:
    """Load the checkpoint if there is one; returns the number of steps done."""
    if not (directory / CHECKPOINT).exists():
        return 0
    state = _read(directory)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def _read(directory: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(directory / CHECKPOINT, map_location="cpu", weights_only=True)
    return state
