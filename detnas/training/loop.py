"""The one training loop: the four trainings differ in their task and in who chooses the path."""

from collections.abc import Callable, Iterable
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from detnas.config import TrainingSettings
from detnas.data.batches import get_step_keys, iterate_batches
from detnas.distributed import comm
from detnas.rundir.layout import TRAINING_DONE, TrainingDone
from detnas.training.checkpoints import newest_checkpoint, save_checkpoint
from detnas.training.data_parallel import average, prepare_data_parallel
from detnas.training.metrics_log import MetricsLog
from detnas.training.non_finite import is_finite, refuse_not_finite, report_skipped
from detnas.training.schedules import learning_rate, set_learning_rate
from detnas.training.state import TrainingState
from detnas.training.tasks import Task
from detnas.utils import signals
from detnas.utils.files import remove_unfinished
from detnas.utils.progress import Progress
from detnas.utils.seeds import derive_seed


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
    """Train `model` in place and leave checkpoints, metrics and `done.json` in `directory`.

    Continues from the newest whole checkpoint that it finds there, to the same bytes on a CPU as without the
    interruption: all that is random is a function of (seed, step). `passes` of a step yields before each forward and
    backward pass of it: a supernet's path is chosen there. Does nothing but load the weights if the training is already
    done. Where weights are averaged, the model ends with the averages.

    A step whose loss or gradient is not finite changes nothing; a line names its images.

    Several processes each take their part of every batch and go on with the mean of their gradients; the first one
    writes, and `directory` need be there for it alone.

    Raises `UserError` after ten such steps in a row, when weights are not finite (they are never saved), and
    where there are checkpoints of which none can be used. Raises `StopRequested`, once the step is done and saved, when
    the process is asked to stop.
    """
    model.to(device)
    prepare_data_parallel(model, settings.sync_bn)
    state = TrainingState(model, settings)
    saved = newest_checkpoint(directory, progress.log)
    if saved is not None:
        state.load_state_dict(saved)
    if not comm.broadcast_from_main(lambda: TRAINING_DONE.exists(directory)) or state.step < settings.steps:
        _train_on(state, task, settings, directory, seed, device, progress, passes)
    state.use_average()


def _train_on(
    state: TrainingState,
    task: Task,
    settings: TrainingSettings,
    directory: Path,
    seed: int,
    device: torch.device,
    progress: Progress,
    passes: Callable[[int], Iterable[None]],
) -> None:
    """Train from the step that `state` has come to until the last."""
    log = None
    if comm.is_main_process():
        directory.mkdir(parents=True, exist_ok=True)
        remove_unfinished(directory)
        log = MetricsLog(directory, state.step, state.window, device)
    state.model.train()
    stream = iterate_batches(
        task.samples,
        task.collate,
        batch_size=settings.batch_size,
        seed=seed,
        start=state.step,
        stop=settings.steps,
        workers=settings.workers,
    )
    with (
        progress.task(directory.name, total=settings.steps, start=state.step) as bar,
        closing(log) if log else nullcontext(),
        closing(stream),
        signals.defer_sigterm(),
    ):
        for step, batch in enumerate(stream, start=state.step):
            torch.manual_seed(derive_seed(seed, "step", step, *([comm.rank()] if comm.rank() else [])))
            rate = learning_rate(settings, step)
            set_learning_rate(state.optimizer, rate)
            figures = train_step(state, task, batch, settings, device, passes(step))
            state.step = step + 1
            if is_finite(figures):
                state.skipped = 0
            else:
                state.skipped += 1
                keys = get_step_keys(task.samples, settings.batch_size, seed, step)
                images = [task.samples.name(key) for key in keys]
                report_skipped(state, settings, directory, {**figures, "lr": rate}, images, progress.log)
            if log:
                log.add(state.step, {} if state.skipped else {**figures, "lr": rate}, settings.batch_size)
            bar.advance(f"loss {figures['loss']:.3f}")
            asked_to_stop = comm.any_rank(signals.is_stop_requested())
            if state.step % settings.checkpoint_every == 0 or state.step == settings.steps or asked_to_stop:
                refuse_not_finite(state, settings, directory)
                if log:
                    # The log first: rows beyond the last checkpoint are dropped when a run continues.
                    log.save()
                    save_checkpoint(directory, state.step, state.state_dict())
            if asked_to_stop:
                signals.raise_stop()
    if log:
        TRAINING_DONE.write(directory, TrainingDone(seconds=log.seconds, steps=settings.steps))


def train_step(
    state: TrainingState,
    task: Task,
    batch: Any,
    settings: TrainingSettings,
    device: torch.device,
    passes: Iterable[None],
) -> dict[str, float]:
    """One update from one batch, of which `batch` is this process's part: the gradients of all `passes` are summed.

    Where the loss or the gradient is not finite there is no update, and the BN statistics are as they were.

    Returns the loss, its parts and the task's figures, as means over passes and processes, and the gradient's norm.
    """
    model, optimizer = state.model, state.optimizer
    for parameter in state.parameters:
        parameter.grad = None
    state.statistics.forget()
    names: list[str] = []
    values: list[torch.Tensor] = []
    for _ in passes:
        state.statistics.keep()
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            parts, figures = task.losses(model, batch, device)
            loss = torch.stack(list(parts.values())).sum()
        torch.autograd.backward(loss)
        names = ["loss", *(f"loss_{name}" for name in parts), *figures]
        values.append(torch.stack([value.detach().float() for value in (loss, *parts.values(), *figures.values())]))
    means = average(state, torch.stack(values).mean(dim=0))
    norm = nn.utils.get_total_norm([parameter.grad for parameter in state.parameters if parameter.grad is not None])
    # One transfer from the device for all figures.
    all_figures = torch.cat([means, norm.reshape(1)]).tolist()
    told = dict(zip([*names, "gradient_norm"], all_figures, strict=True))
    if not is_finite(told):
        state.statistics.restore()
        return told
    if settings.clip_norm is not None:
        nn.utils.clip_grads_with_norm_(state.parameters, settings.clip_norm, norm)
    optimizer.step()
    if state.average is not None:
        state.average.update()
    return told
