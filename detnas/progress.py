"""Where long work stands: one live display on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

PLAIN_EVERY = 10.0
"""Seconds between plain lines."""


class Bar:
    """One task's progress."""

    def __init__(self, progress: "Progress", name: str, total: int, start: int) -> None:
        self.progress = progress
        self.name = name
        self.total = total
        self.start = self.done = start
        self.began = self.said = time.monotonic()
        self.live = progress.rich.add_task(name, total=total, completed=start, note="") if progress.rich else None

    def advance(self, note: str = "", by: int = 1) -> None:
        self.done += by
        if self.progress.rich is not None and self.live is not None:
            self.progress.rich.update(self.live, completed=self.done, note=note)
        elif time.monotonic() - self.said >= PLAIN_EVERY or self.done == self.total:
            self.said = time.monotonic()
            elapsed = self.said - self.began
            left = elapsed / (self.done - self.start) * (self.total - self.done)
            facts = [f"{self.done}/{self.total}", *([note] if note else []), f"{duration(left)} left"]
            self.progress.say(f"  {self.name}: {', '.join(facts)}")


class Progress:
    """Says where a run stands. `quiet` says nothing."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(quiet=quiet, highlight=False, soft_wrap=True)
        self.rich: RichProgress | None = None

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)

    @contextmanager
    def task(self, name: str, total: int, start: int = 0) -> Iterator[Bar]:
        """A bar for one task, live on a terminal."""
        if not self.console.is_terminal:
            yield Bar(self, name, total, start)
            return
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with RichProgress(*columns, console=self.console, transient=True) as self.rich:
            try:
                yield Bar(self, name, total, start)
            finally:
                self.rich = None


def duration(seconds: float) -> str:
    """Seconds as people say them: 8 s, 3 min 20 s, 2 h 5 min."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"
