"""The log of a training: `metrics.jsonl` and TensorBoard."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter

from detnas.rundir.layout import METRICS, MetricsRow
from detnas.utils.files import explain_unwritable
from detnas.utils.memory import used_memory

LOG_EVERY = 10


class MetricsLog:
    """Logs the means of a training's metrics over every `LOG_EVERY` steps, with throughput and memory in use.

    `window` holds the metrics of each step since the last row, empty for a step without an update. It is part of the
    training's state, and changed in place.
    """

    def __init__(
        self,
        directory: Path,
        start: int,
        window: list[dict[str, float]],
        device: torch.device,
        log: Callable[[str], object] = lambda line: None,
    ) -> None:
        self.directory = directory
        # What a killed process logged beyond its last checkpoint is about to be computed again, and so are scores.
        self.rows = [row for row in METRICS.read_log(directory, log) if row.loss is not None and row.step <= start]
        self.seconds = (self.rows[-1].seconds or 0.0) if self.rows else 0.0
        with explain_unwritable(directory):
            self.writer = SummaryWriter(str(directory), purge_step=start + 1)
        self.window = window
        self.device = device
        self.images = 0
        """Images trained on since `clock`."""
        self.clock = time.perf_counter()
        """When the last row was added."""

    def add(self, step: int, metrics: dict[str, float], num_images: int) -> None:
        """Add the metrics of a step on `num_images` images; none if the step was skipped."""
        self.window.append(metrics)
        self.images += num_images
        if step % LOG_EVERY == 0:
            self._add_row(step)

    def _add_row(self, step: int) -> None:
        elapsed = time.perf_counter() - self.clock
        self.clock += elapsed
        self.seconds += elapsed
        updates = [metrics for metrics in self.window if metrics]
        row = {name: sum(metrics[name] for metrics in updates) / len(updates) for name in updates[-1]}
        row["lr"] = updates[-1]["lr"]
        row["skipped_steps"] = len(self.window) - len(updates)
        row["images_per_second"] = self.images / elapsed
        row["memory_mb"] = round(used_memory(self.device) / 1e6)
        with explain_unwritable(self.directory):
            for name, value in row.items():
                self.writer.add_scalar(name, value, step)
        self.rows.append(MetricsRow.model_validate({"step": step, "seconds": round(self.seconds, 3), **row}))
        self.window.clear()
        self.images = 0

    def save(self) -> None:
        METRICS.write(self.directory, self.rows)

    def close(self) -> None:
        with explain_unwritable(self.directory):
            self.writer.close()


def log_scores(
    directory: Path, step: int, scores: Mapping[str, float | None], log: Callable[[str], object] = lambda line: None
) -> None:
    """Log what a network scored after `step` steps as a row of its own, in place of earlier scores.

    `log` is told of damaged rows, which are left out.
    """
    rows = [row for row in METRICS.read_log(directory, log) if row.loss is not None]
    METRICS.write(directory, [*rows, MetricsRow.model_validate({"step": step, **scores})])
    with explain_unwritable(directory), SummaryWriter(str(directory)) as writer:
        for name, score in scores.items():
            if score is not None:
                writer.add_scalar(f"validation/{name}", score, step)
