"""The one training loop: the four trainings differ in their task and in who chooses the path."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from detnas import processes
from detnas.config import TrainingSettings
from detnas.data.batches import batches
from detnas.errors import UserError
from detnas.files import write_json
from detnas.progress import Progress
from detnas.seeds import seed_of
from detnas.training.averaging import average, train_together
from detnas.training.checkpoints import resume, save_checkpoint
from detnas.training.metrics_log import MetricsLog
from detnas.training.schedules import build_optimizer, learning_rate, set_learning_rate
from detnas.training.tasks import Task

DONE = "done.json"


def one_pass(step: int) -> Iterable[None]:
    """The passes of a step of a network that has no paths to choose from."""
    return (None,)


def train(
    model: nn.Module,
    task: Task,
    settings: TrainingSettings,
    directory: Path,
    *,
    seed: int,
    device: torch.device,
    progress: Progress,
    passes: Callable[[int], Iterable[None]] = one_pass,
) -> None:
    """Train `model` in place and leave checkpoint, metrics and `done.json` in `directory`.

    Continues from the checkpoint that it finds there, to the same bytes on a CPU as without the interruption: all
    that is random is a function of (seed, step). `passes` of a step yields before each forward and backward pass of it:
    a supernet's path is chosen there. Does nothing but load the weights if the training is already done.

    Several processes each take their part of every batch and go on with the mean of their gradients; the first one
    writes, and `directory` need be there for it alone.

    Raises `UserError` when the loss is not finite.
    """
    model.to(device)
    optimizer = build_optimizer(model, settings)
    start = resume(model, optimizer, directory)
    if processes.from_first((directory / DONE).exists):
        return
    train_together(model, settings.sync_bn)
    log = MetricsLog(directory, start) if processes.is_first() else None
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
            torch.manual_seed(seed_of(seed, "step", step, *([processes.rank()] if processes.rank() else [])))
            rate = learning_rate(settings, step)
            set_learning_rate(optimizer, rate)
            figures = train_step(model, task, batch, optimizer, settings, device, passes(step))
            if log:
                log.add(step + 1, {**figures, "lr": rate}, settings.batch)
            if not math.isfinite(figures["loss"]):
                raise UserError(
                    f"{directory}: the loss of step {step + 1} is {figures['loss']}; lower lr ({settings.lr:g}) or "
                    "set clip_norm, in a run of its own (another --out)"
                )
            bar.advance(f"loss {figures['loss']:.3f}")
            if log and ((step + 1) % settings.checkpoint_every == 0 or step + 1 == settings.steps):
                # The log first: rows beyond the last checkpoint are dropped when a run continues.
                log.save()
                save_checkpoint(model, optimizer, step + 1, directory)
    if log:
        log.close()
        write_json(directory / DONE, {"seconds": log.seconds, "steps": settings.steps})


def train_step(
    model: nn.Module,
    task: Task,
    batch: Any,
    optimizer: torch.optim.Optimizer,
    settings: TrainingSettings,
    device: torch.device,
    passes: Iterable[None],
) -> dict[str, float]:
    """One update from one batch, of which `batch` is this process's part: the gradients of all `passes` are summed.

    Returns the loss, its parts, and the task's figures, as means over the passes and processes.
    """
    optimizer.zero_grad(set_to_none=True)
    names: list[str] = []
    values = []
    for _ in passes:
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            parts, figures = task.losses(model, batch, device)
            loss = torch.stack(list(parts.values())).sum()
        torch.autograd.backward(loss)
        names = ["loss", *(f"loss_{name}" for name in parts), *figures]
        values.append(torch.stack([value.detach().float() for value in (loss, *parts.values(), *figures.values())]))
    means = average(model, torch.stack(values).mean(dim=0))
    if settings.clip_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
    optimizer.step()
    # One transfer from the device for all figures.
    return dict(zip(names, means.tolist(), strict=True))
