"""The progress of a run as a table on a terminal."""

import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from detnas.run.status import Standing, Status, status_of, watch
from detnas.utils.progress import format_duration

INTERVAL = 2.0
"""Seconds between updates of the table."""
COLORS = {"done": "green", "under way": "bold yellow", "begun": "yellow", "not begun": "dim"}


def show(
    directory: Path, console: Console, live: bool, pause: Callable[[], object] = lambda: time.sleep(INTERVAL)
) -> None:
    """Print the table of a run. With `live`, update it until the run ends, calling `pause` between updates."""
    if not live:
        console.print(table(status_of(directory)))
        return
    with Live(console=console, auto_refresh=False) as display:
        watch(directory, lambda status: display.update(table(status), refresh=True), pause)


def table(status: Status) -> Group:
    """A row for each stage of a run; below, the time since the last save and the path of the report."""
    rows = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("stage", "state", "done", "rate", "spent", "left"):
        rows.add_column(heading, justify="left" if heading in ("stage", "state") else "right", no_wrap=True)
    rows.add_column("")
    for stage in status.stages:
        begun = stage.state != "not begun"
        rows.add_row(
            Text(stage.name),
            Text(stage.state, style=COLORS[stage.state]),
            f"{stage.done}/{stage.total}" if begun else "",
            _rate(stage),
            _time(stage.spent),
            _time(stage.left),
            Text(stage.headline),
        )
    saved = "" if status.ended else f"; last saved {format_duration(status.age)} ago"
    page = f"report: {status.report or 'not written yet'}"
    return Group(Text(f"{status.directory}: recipe {status.name}{saved}"), rows, Text(page))


def _rate(stage: Standing) -> str:
    if not stage.pace:
        return ""
    return f"{1 / stage.pace:.3g}/s" if stage.pace < 1 else f"{format_duration(stage.pace)} each"


def _time(seconds: float | None) -> str:
    return "" if seconds is None else format_duration(seconds)
