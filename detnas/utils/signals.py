"""Being asked to stop: SIGTERM, as schedulers send it as a warning, and SIGINT, Ctrl-C.

Whatever a run does can be cut at any moment, so that either signal stops it at once. Only a training step waits: it is
finished and saved first, unless there is a second signal, or Ctrl-C.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGTERM, signal.SIGINT)

_requested: list[int] = []
"""The signals heard so far: a process's signals are global, and so is this."""
_deferred = False


class Stopped(BaseException):
    """The process was asked to stop. No error: it passes those who handle errors."""

    def __init__(self, signal_number: int) -> None:
        self.signal = signal_number


@contextmanager
def heard() -> Iterator[None]:
    """Raise `Stopped` where a signal asks to stop, until the block ends. For the main thread of a command."""
    before = {number: signal.signal(number, _hear) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _requested.clear()


def _hear(number: int, frame: FrameType | None) -> None:
    _requested.append(number)
    if not _deferred or number == signal.SIGINT or len(_requested) > 1:
        raise Stopped(number)


@contextmanager
def deferred() -> Iterator[None]:
    """In this block a first SIGTERM is only noted, for `requested`; `Stopped` is raised at its end."""
    global _deferred
    _deferred = True
    try:
        yield
    finally:
        _deferred = False
    if _requested:
        stop()


def requested() -> bool:
    """Whether the process has been asked to stop."""
    return bool(_requested)


def stop() -> NoReturn:
    """Raise `Stopped`: this process, or another of the same run, has been asked to."""
    raise Stopped(_requested[-1] if _requested else signal.SIGTERM)


def leave_to_the_main_process() -> None:
    """For a process that prepares data: a signal to the whole group would end it in the middle of the last step."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
