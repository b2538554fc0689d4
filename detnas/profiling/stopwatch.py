"""Times and memory of a run's tasks, taken where their progress is told: what works knows nothing of it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from detnas.utils.memory import PeakMemory
from detnas.utils.progress import Progress, ProgressBar


class Laps(ProgressBar):
    """When a task advanced and by how much, and the memory that it used."""

    def __init__(self, watch: "Stopwatch", name: str, total: int, start: int) -> None:
        super().__init__(watch, name, total, start)
        self.watch = watch
        watch.memory.reset()
        self.memory_before = self.memory = watch.memory.peak()
        self.ends: list[float] = []
        self.amounts: list[int] = []
        self.started = self.closed = time.perf_counter()

    def advance(self, note: str = "", by: int = 1) -> None:
        self.ends.append(time.perf_counter())
        self.amounts.append(by)
        self.memory = self.watch.memory.peak()
        self.watch.after(self)

    def close(self) -> None:
        self.closed = time.perf_counter()
        self.memory = self.watch.memory.peak()

    @property
    def closing(self) -> float:
        """Seconds from the last advance to the end: of a training, what its checkpoint takes."""
        return self.closed - self.ends[-1]

    def seconds(self, warm_up: int) -> float:
        """Seconds for one of what is counted; the first `warm_up` advances are left out if there are more."""
        first = min(warm_up, len(self.ends) - 1)
        since = self.ends[first - 1] if first else self.started
        return (self.ends[-1] - since) / sum(self.amounts[first:])


class Stopwatch(Progress):
    """Says nothing and keeps the laps of every task; calls `after` when a task has advanced."""

    def __init__(self, memory: PeakMemory, after: Callable[[Laps], None] = lambda laps: None) -> None:
        super().__init__(quiet=True)
        self.memory = memory
        self.after = after
        self.tasks: list[Laps] = []

    @contextmanager
    def task(self, name: str, total: int, start: int = 0) -> Iterator[ProgressBar]:
        laps = Laps(self, name, total, start)
        self.tasks.append(laps)
        yield laps
        laps.close()
