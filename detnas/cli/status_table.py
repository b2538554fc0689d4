"""The progress of a run as a table on a terminal."""

import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from detnas.run.status import RunStatus, StageStatus, read_status, watch
from detnas.utils.progress import format_duration
from detnas.utils.text import printable

INTERVAL = 2.0
"""Seconds between updates of the table."""
COLORS = {"done": "green", "in progress": "bold yellow", "started": "yellow", "not started": "dim"}


def show(
    directory: Path, console: Console, live: bool, pause: Callable[[], object] = lambda: time.sleep(INTERVAL)
) -> None:
    """Print the table of a run. With `live`, update it until the run ends, calling `pause` between updates."""
    if not live:
        console.print(table(read_status(directory)))
        return
    with Live(console=console, auto_refresh=False) as display:
        watch(directory, lambda status: display.update(table(status), refresh=True), pause)


def table(status: RunStatus) -> Group:
    """A row for each stage of a run; below, the time since the last save and the path of the report."""
    rows = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("stage", "state", "done", "rate", "spent", "left"):
        rows.add_column(heading, justify="left" if heading in ("stage", "state") else "right", no_wrap=True)
    rows.add_column("")
    for stage in status.stages:
        is_started = stage.state != "not started"
        rows.add_row(
            Text(printable(stage.name)),
            Text(stage.state, style=COLORS[stage.state]),
            f"{stage.done}/{stage.total}" if is_started else "",
            _rate(stage),
            _time(stage.spent),
            _time(stage.left),
            Text(printable(stage.headline)),
        )
    saved = "" if status.is_finished else f"; last saved {format_duration(status.age)} ago"
    page = f"report: {status.report or 'not written yet'}"
    head = f"{status.directory}: recipe {status.name}{saved}"
    return Group(Text(printable(head)), rows, *(Text(printable(note)) for note in status.notes), Text(printable(page)))


def _rate(stage: StageStatus) -> str:
    seconds = stage.seconds_per_unit
    if not seconds:
        return ""
    return f"{1 / seconds:.3g}/s" if seconds < 1 else f"{format_duration(seconds)} each"


def _time(seconds: float | None) -> str:
    return "" if seconds is None else format_duration(seconds)
