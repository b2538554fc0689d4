"""Handles requests to stop: SIGTERM, which schedulers send as a warning, and SIGINT, which Ctrl-C sends.

A run can be interrupted at any moment, so either signal stops it at once, with two exceptions. After SIGTERM a
training step is finished and saved first. And an import is finished first, since an exception may be swallowed in it
(torch does so while it imports NumPy). A second signal stops both at once. An exception that is swallowed elsewhere, in
a finalizer, is raised again.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGTERM, signal.SIGINT)

_requested: list[int] = []
"""The signals received so far. Global, since signal handlers are."""
_deferred = False
_delayed: set[int] = set()
"""The signals that will be sent again, since they arrived where an exception would be swallowed."""
DELAY = 0.05
"""Seconds after which these are sent again."""


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
    """Raise `StopRequested` in the block when a signal asks to stop. For the main thread of a command; uses SIGALRM."""
    handlers = dict.fromkeys(SIGNALS, _on_signal) | {signal.SIGALRM: _on_alarm}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    default_hook = sys.unraisablehook

    def raise_again(unraisable: "sys.UnraisableHookArgs") -> None:
        if isinstance(unraisable.exc_value, StopRequested):
            _requested.clear()
            _delay(unraisable.exc_value.signal)
        else:
            default_hook(unraisable)

    sys.unraisablehook = raise_again
    try:
        yield
    finally:
        sys.unraisablehook = default_hook
        for number, handler in before.items():
            signal.signal(number, handler)
        _requested.clear()
        _delayed.clear()


def _on_signal(number: int, frame: FrameType | None) -> None:
    if number in _delayed:
        os._exit(128 + number)  # the second one
    if _is_importing(frame):
        _delay(number)
        return
    _requested.append(number)
    if not _deferred or number == signal.SIGINT or len(_requested) > 1:
        raise StopRequested(number)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _delay(number: int) -> None:
    _delayed.add(number)
    signal.setitimer(signal.ITIMER_REAL, DELAY)


def _on_alarm(number: int, frame: FrameType | None) -> None:
    again = list(_delayed)
    _delayed.clear()
    for one in again:
        _on_signal(one, frame)


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
