"""Measures time and memory of a run's tasks through their progress bars, so that the measured code is unchanged."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from detnas.utils.memory import PeakMemory
from detnas.utils.progress import Progress, ProgressBar


class TimedTask(ProgressBar):
    """When a task advanced and by how much, and its peak memory."""

    def __init__(self, progress: "TimedProgress", name: str, total: int, start: int) -> None:
        super().__init__(progress, name, total, start)
        self.timed_progress = progress
        progress.memory.reset()
        self.memory_before = self.memory = progress.memory.peak()
        self.ends: list[float] = []
        self.amounts: list[int] = []
        self.began = self.closed = time.perf_counter()

    def advance(self, note: str = "", by: int = 1) -> None:
        self.ends.append(time.perf_counter())
        self.amounts.append(by)
        self.memory = self.timed_progress.memory.peak()
        if self.timed_progress.on_advance is not None:
            self.timed_progress.on_advance(self)

    def close(self) -> None:
        self.closed = time.perf_counter()
        self.memory = self.timed_progress.memory.peak()

    def seconds_per_unit(self, warm_up: int) -> float:
        """Mean seconds per unit of progress, without the first `warm_up` advances if there are more."""
        first = min(warm_up, len(self.ends) - 1)
        since = self.ends[first - 1] if first else self.began
        return (self.ends[-1] - since) / sum(self.amounts[first:])


class TimedProgress(Progress):
    """Prints nothing and keeps the timing of every task. Calls `on_advance`, if given, whenever a task has advanced."""

    def __init__(self, memory: PeakMemory, on_advance: Callable[[TimedTask], None] | None = None) -> None:
        super().__init__(quiet=True)
        self.memory = memory
        self.on_advance = on_advance
        self.tasks: list[TimedTask] = []

    @contextmanager
    def task(self, name: str, total: int, start: int = 0) -> Iterator[ProgressBar]:
        task = TimedTask(self, name, total, start)
        self.tasks.append(task)
        yield task
        task.close()
