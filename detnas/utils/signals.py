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
"""The signals received so far: a process's signals are global, and so is this."""
_deferred = False


class StopRequested(BaseException):
    """The process was asked to stop. No error: it passes those who handle errors."""

    def __init__(self, signal_number: int) -> None:
        self.signal = signal_number


@contextmanager
def handle_signals() -> Iterator[None]:
    """Raise `StopRequested` where a signal asks to stop, until the block ends. For the main thread of a command."""
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
        raise StopRequested(number)


@contextmanager
def defer_sigterm() -> Iterator[None]:
    """In this block a first SIGTERM is only noted, for `is_stop_requested`; `StopRequested` is raised at its end."""
    global _deferred
    _deferred = True
    try:
        yield
    finally:
        _deferred = False
    if _requested:
        raise_stop()


def is_stop_requested() -> bool:
    """Whether the process has been asked to stop."""
    return bool(_requested)


def raise_stop() -> NoReturn:
    """Raise `StopRequested`: this process, or another of the same run, has been asked to."""
    raise StopRequested(_requested[-1] if _requested else signal.SIGTERM)


def ignore_signals() -> None:
    """For a process that prepares data: a signal to the whole group would end it in the middle of the last step."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
