"""The training loop. The four trainings of a run differ in their task and in how paths are drawn."""

from collections.abc import Callable, Iterable
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from detnas.config import TrainingSettings
from detnas.data.batches import iterate_batches, keys_of
from detnas.distributed import comm
from detnas.rundir.layout import TRAINING_DONE, TrainingDone
from detnas.training.checkpoints import is_done, newest_checkpoint, save_checkpoint
from detnas.training.data_parallel import average_gradients, prepare_data_parallel
from detnas.training.freezing import freeze
from detnas.training.metrics_log import MetricsLog
from detnas.training.non_finite import is_finite, refuse_non_finite, report_skipped
from detnas.training.schedules import learning_rate, set_learning_rate
from detnas.training.state import TrainingState
from detnas.training.tasks import Task
from detnas.utils import signals
from detnas.utils.files import make_folder, remove_unfinished
from detnas.utils.progress import Progress
from detnas.utils.seeds import derive_seed


def one_pass(step: int) -> Iterable[None]:
    """The passes of a step of a network without paths: a single one."""
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

    Continues from the newest intact checkpoint in `directory`, on a CPU to the same bytes as without the interruption:
    all randomness is a function of (seed, step). If the training is already done, only loads the weights. If
    `settings.ema_decay` is set, the model ends with the averaged weights.

    `passes(step)` yields once before each forward and backward pass of a step; a supernet's path is drawn there.

    A step whose loss or gradient is not finite changes nothing; a log line names its images.

    With several processes, each trains on its shard of every batch, and all apply the mean of their gradients. Only the
    main process writes, and only it needs `directory`.

    Raises `UserError` after ten skipped steps in a row, if weights are not finite (they are never saved), and if there
    are checkpoints but none is intact. Raises `StopRequested`, after the current step is finished and saved, when the
    process is asked to stop.
    """
    model.to(device)
    prepare_data_parallel(model, settings.sync_bn)
    state = TrainingState(model, settings)
    saved = newest_checkpoint(directory, progress.log)
    if saved is not None:
        state.load_state_dict(saved)
    if not is_done(directory) or state.step < settings.steps:
        _run_steps(state, task, directory, seed, device, progress, passes)
    state.apply_ema()


def _run_steps(
    state: TrainingState,
    task: Task,
    directory: Path,
    seed: int,
    device: torch.device,
    progress: Progress,
    passes: Callable[[int], Iterable[None]],
) -> None:
    """Train from `state.step` to the last step."""
    settings = state.settings
    log = None
    if comm.is_main_process():
        make_folder(directory)
        remove_unfinished(directory)
        log = MetricsLog(directory, state.step, state.window, device, progress.log)
    state.model.train()
    freeze(state.model, settings)
    batch_size, steps, workers = settings.batch_size, settings.steps, settings.workers
    stream = iterate_batches(
        task.samples, task.collate, batch_size=batch_size, seed=seed, start=state.step, stop=steps, workers=workers
    )
    with (
        progress.task(directory.name, total=steps, start=state.step) as bar,
        closing(log) if log else nullcontext(),
        closing(stream),
        signals.defer_sigterm(),
    ):
        for step, batch in enumerate(stream, start=state.step):
            torch.manual_seed(derive_seed(seed, "step", step, *([comm.rank()] if comm.rank() else [])))
            rate = learning_rate(settings, step)
            set_learning_rate(state.optimizer, rate)
            metrics = train_step(state, task, batch, device, passes(step))
            state.step = step + 1
            if is_finite(metrics):
                state.skipped = 0
            else:
                state.skipped += 1
                keys = next(keys_of(task.samples, batch_size, seed, step, step + 1))
                images = [task.samples.name(key) for key in keys]
                report_skipped(state, directory, {**metrics, "lr": rate}, images, progress.log)
            if log:
                log.add(state.step, {} if state.skipped else {**metrics, "lr": rate}, batch_size)
            bar.advance(f"loss {metrics['loss']:.3f}")
            is_stopping = comm.all_reduce_int(signals.is_stop_requested()) > 0
            if state.step % settings.checkpoint_every == 0 or state.step == steps or is_stopping:
                refuse_non_finite(state, directory)
                if log:
                    # The log comes first: rows after the last checkpoint are dropped when the training continues.
                    log.save()
                    save_checkpoint(directory, state.step, state.state_dict())
            if is_stopping:
                signals.raise_stop()
    if log:
        TRAINING_DONE.write(directory, TrainingDone(seconds=round(log.seconds, 3), steps=steps))


def train_step(
    state: TrainingState, task: Task, batch: Any, device: torch.device, passes: Iterable[None]
) -> dict[str, float]:
    """Update the weights once, from the sum of the gradients of all `passes` over this process's shard of a batch.

    If the loss or the gradient is not finite, the weights and the BN statistics stay as they are.

    Returns the loss, its parts and the task's metrics, each the mean over passes and processes, and the norm of the
    gradient before clipping.
    """
    model, settings = state.model, state.settings
    for parameter in state.parameters:
        parameter.grad = None
    state.bn_statistics.clear()
    names: list[str] = []
    values: list[torch.Tensor] = []
    for _ in passes:
        state.bn_statistics.save()
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            parts, others = task.losses(model, batch, device)
            loss = torch.stack(list(parts.values())).sum()
        torch.autograd.backward(loss)
        names = ["loss", *(f"loss_{name}" for name in parts), *others]
        values.append(torch.stack([value.detach().float() for value in (loss, *parts.values(), *others.values())]))
    means = average_gradients(state, torch.stack(values).mean(dim=0))
    norm = nn.utils.get_total_norm([parameter.grad for parameter in state.parameters if parameter.grad is not None])
    # A single transfer from the device for all metrics.
    numbers = torch.cat([means, norm.reshape(1)]).tolist()
    metrics = dict(zip([*names, "gradient_norm"], numbers, strict=True))
    if not is_finite(metrics):
        state.bn_statistics.restore()
        return metrics
    if settings.clip_norm is not None:
        nn.utils.clip_grads_with_norm_(state.parameters, settings.clip_norm, norm)
    state.optimizer.step()
    if state.ema is not None:
        state.ema.update()
    return metrics
