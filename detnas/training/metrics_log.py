"""The figures of a training, for people and for the page."""

import time
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from detnas.files import read_json_lines, write_json_lines

LOG_EVERY = 10


class MetricsLog:
    """Means of the figures over every few steps, to `metrics.jsonl` and TensorBoard."""

    def __init__(self, directory: Path, start: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
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
