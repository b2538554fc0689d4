"""The figures of a training, for people and for the page: `metrics.jsonl` and TensorBoard."""

import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter

from detnas.utils.files import read_json_lines, write_json_lines
from detnas.utils.memory import used_memory

METRICS = "metrics.jsonl"
LOG_EVERY = 10


class MetricsLog:
    """Means of the figures over every few steps, with the rate, and the memory in use.

    `window` are the figures since the last row, of a step without an update none. It is part of the training's state,
    and changed in place.
    """

    def __init__(self, directory: Path, start: int, window: list[dict[str, float]], device: torch.device) -> None:
        self.path = directory / METRICS
        # What a killed process logged beyond its last checkpoint is about to be computed again, and so are scores.
        self.rows = [row for row in read_json_lines(self.path) if "loss" in row and row["step"] <= start]
        self.seconds = self.rows[-1]["seconds"] if self.rows else 0.0
        self.writer = SummaryWriter(str(directory), purge_step=start + 1)
        self.window = window
        self.device = device
        self.images = 0
        """Since `clock`."""
        self.clock = time.perf_counter()

    def add(self, step: int, figures: dict[str, float], images: int) -> None:
        self.window.append(figures)
        self.images += images
        if step % LOG_EVERY == 0:
            self._add_row(step)

    def _add_row(self, step: int) -> None:
        elapsed = time.perf_counter() - self.clock
        self.clock += elapsed
        self.seconds += elapsed
        updates = [figures for figures in self.window if figures]
        row = {name: sum(figures[name] for figures in updates) / len(updates) for name in updates[-1]}
        row["lr"] = updates[-1]["lr"]
        row["skipped_steps"] = len(self.window) - len(updates)
        row["images_per_second"] = self.images / elapsed
        row["memory_mb"] = round(used_memory(self.device) / 1e6)
        for name, value in row.items():
            self.writer.add_scalar(name, value, step)
        self.rows.append({"step": step, "seconds": round(self.seconds, 3), **row})
        self.window.clear()
        self.images = 0

    def save(self) -> None:
        write_json_lines(self.path, self.rows)

    def close(self) -> None:
        self.writer.close()


def log_scores(directory: Path, step: int, scores: Mapping[str, float | None]) -> None:
    """Add what a network scored after `step` steps as a row of its own; a row of earlier scores is replaced."""
    rows = [row for row in read_json_lines(directory / METRICS) if not scores.keys() <= row.keys()]
    write_json_lines(directory / METRICS, [*rows, {"step": step, **scores}])
    with SummaryWriter(str(directory)) as writer:
        for name, score in scores.items():
            if score is not None:
                writer.add_scalar(f"validation/{name}", score, step)
