"""What to say when the machine runs out of memory or of room on the disk."""

import errno
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from detnas.utils.errors import UserError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The disk is full, the user's share of it, or what a file may hold."""
CPU_ALLOCATOR = "DefaultCPUAllocator"
"""By its name in the message: there is no exception of its own for memory that a CPU's tensor cannot have."""


@contextmanager
def explain_out_of_memory(fields: str, others: str = "") -> Iterator[None]:
    """Raise `UserError` where the block runs out of memory: `fields`, with values, are to be lowered; `others` help."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if _is_out_of_memory(error):
            remedy = f"lower it {others}".rstrip()
            raise UserError(f"out of memory with {fields}; {remedy} (another recipe, for another --out)") from None
        raise


@contextmanager
def explain_disk_full(directory: Path) -> Iterator[None]:
    """Raise `UserError` where the block finds no room on the disk to write to `directory`."""
    usual_hook = threading.excepthook

    def quiet_if_disk_is_full(failure: threading.ExceptHookArgs) -> None:
        # A thread that writes for others: the next who gives it something to write is told.
        if not _is_disk_full(failure.exc_value):
            usual_hook(failure)

    threading.excepthook = quiet_if_disk_is_full
    try:
        yield
    except Exception as error:
        if not _is_disk_full(error):
            raise
        raise UserError(
            f"{directory}: no room left on the disk; what was saved is whole: make room, and the same command goes on"
        ) from None
    finally:
        threading.excepthook = usual_hook


def is_resource_error(error: Exception) -> bool:
    """Whether the machine lacks memory, or room on the disk."""
    return _is_out_of_memory(error) or _is_disk_full(error)


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or CPU_ALLOCATOR in str(error)


def _is_disk_full(error: BaseException | None) -> bool:
    """Whether the error, or one that it followed from, is that there is no room."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            return True
        if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            return True
        error = error.__cause__ or error.__context__
    return False
