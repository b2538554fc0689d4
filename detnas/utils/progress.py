"""Progress of long tasks: a live bar on a terminal, plain lines elsewhere."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from detnas.utils.text import printable

LINE_INTERVAL = 10.0
"""Seconds between plain lines."""


class ProgressBar:
    """The progress of one task, from step `start` of `total`."""

    def __init__(self, progress: "Progress", name: str, total: int, start: int) -> None:
        self.progress = progress
        self.name = name
        self.total = total
        self.start = self.done = start
        self.started = self.last_line = time.monotonic()
        self.live = (
            progress.rich.add_task(printable(name), total=total, completed=start, note="") if progress.rich else None
        )

    def advance(self, note: str = "", by: int = 1) -> None:
        """Count `by` more steps as done. `note` is displayed beside the bar."""
        self.done += by
        if self.progress.rich is not None and self.live is not None:
            self.progress.rich.update(self.live, completed=self.done, note=note)
        elif time.monotonic() - self.last_line >= LINE_INTERVAL or self.done == self.total:
            self.last_line = time.monotonic()
            elapsed = self.last_line - self.started
            left = elapsed / (self.done - self.start) * (self.total - self.done)
            facts = [f"{self.done}/{self.total}", *([note] if note else []), f"{format_duration(left)} left"]
            self.progress.log(f"  {self.name}: {', '.join(facts)}")


class Progress:
    """Reports progress on standard output: live on a terminal, otherwise in plain lines; nothing if `quiet`."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(quiet=quiet, highlight=False, soft_wrap=True)
        self.rich: RichProgress | None = None

    def log(self, text: str) -> None:
        """Print a line; what a terminal would obey is printed as an escape."""
        self.console.print(printable(text), markup=False)

    @contextmanager
    def task(self, name: str, total: int, start: int = 0) -> Iterator[ProgressBar]:
        """A bar for one task, live on a terminal until the block ends."""
        if not self.console.is_terminal:
            yield ProgressBar(self, name, total, start)
            return
        times = (TimeElapsedColumn(), "left", TimeRemainingColumn())
        name_column, note = (TextColumn(text, markup=False) for text in ("  {task.description}", "{task.fields[note]}"))
        columns = (name_column, BarColumn(), MofNCompleteColumn(), *times, note)
        with RichProgress(*columns, console=self.console, transient=True) as self.rich:
            try:
                yield ProgressBar(self, name, total, start)
            finally:
                self.rich = None


def parse_duration(text: str) -> float | None:
    """The seconds of a text such as 45m, 2h, 1h30m or 90s; None of any other text, and of none at all."""
    found = re.fullmatch(r"(?:(\d{1,4})h)?(?:(\d{1,6})m)?(?:(\d{1,8})s)?", text, re.ASCII)
    hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    return float(3600 * hours + 60 * minutes + seconds) or None


def format_duration(seconds: float) -> str:
    """A human-readable duration in its two largest units: 2 d 3 h, 2 h 14 min, 3 min 5 s, 12 s, 0.5 s."""
    left = round(seconds)
    if left < 60:
        return f"{seconds:.1f} s" if 0 < seconds < 10 else f"{left} s"
    parts = [(left // 86400, "d"), (left // 3600 % 24, "h"), (left // 60 % 60, "min"), (left % 60, "s")]
    first = next(index for index, (number, _) in enumerate(parts) if number)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number)
