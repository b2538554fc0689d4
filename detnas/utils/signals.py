"""Handles requests to stop: SIGTERM, which schedulers send as a warning, and SIGINT, which Ctrl-C sends.

A run can be interrupted at any moment, so either signal stops it at once. The exception is a training step: after
SIGTERM it is finished and saved first, unless a second signal arrives.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGTERM, signal.SIGINT)

_requested: list[int] = []
"""The signals received so far. Global, since signal handlers are."""
_deferred = False


class StopRequested(BaseException):
    """The process was asked to stop. Not an `Exception`, so that handlers of errors do not catch it."""

    def __init__(self, signal_number: int) -> None:
        self.signal = signal_number

    @property
    def exit_status(self) -> int:
        """The exit status by which shells report a process that a signal ended."""
        return 128 + self.signal


@contextmanager
def handle_signals() -> Iterator[None]:
    """Raise `StopRequested` in the block when a signal asks to stop. For the main thread of a command."""
    before = {number: signal.signal(number, _on_signal) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _requested.clear()


def _on_signal(number: int, frame: FrameType | None) -> None:
    _requested.append(number)
    if not _deferred or number == signal.SIGINT or len(_requested) > 1:
        raise StopRequested(number)


@contextmanager
def defer_sigterm() -> Iterator[None]:
    """In this block a first SIGTERM only sets `is_stop_requested()`; `StopRequested` is raised at its end."""
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
    """Raise `StopRequested`: this process, or another one of the same run, was asked to stop."""
    raise StopRequested(_requested[-1] if _requested else signal.SIGTERM)


def ignore_signals() -> None:
    """For processes that load data: a signal to the whole process group must not end them before the last step ends."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
