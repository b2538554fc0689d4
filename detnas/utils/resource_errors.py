"""Errors that explain how to continue when memory or disk space runs out."""

import errno
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from detnas.utils.errors import UserError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The disk is full, or the user's quota or the maximum size of a file is exceeded."""
CPU_ALLOCATOR = "DefaultCPUAllocator"
"""Occurs in the message of the `RuntimeError` that torch raises when a CPU tensor cannot be allocated."""


@contextmanager
def explain_out_of_memory(fields: str, others: str = "") -> Iterator[None]:
    """Raise `UserError` if the block runs out of memory. It asks to lower `fields`, given with values, or `others`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if _is_out_of_memory(error):
            remedy = f"lower it {others}".rstrip()
            raise UserError(f"out of memory with {fields}; {remedy} (another recipe, for another --out)") from None
        raise


@contextmanager
def explain_disk_full(directory: Path) -> Iterator[None]:
    """Raise `UserError` if the block cannot write to `directory` because the disk is full."""
    default_hook = threading.excepthook

    def quiet_if_disk_is_full(failure: threading.ExceptHookArgs) -> None:
        # For threads that write for others (TensorBoard's): their next caller raises the same error.
        if not _is_disk_full(failure.exc_value):
            default_hook(failure)

    threading.excepthook = quiet_if_disk_is_full
    try:
        yield
    except Exception as error:
        if not _is_disk_full(error):
            raise
        raise UserError(
            f"{directory}: no space left on the disk; what was saved is intact: free some space and repeat the command"
        ) from None
    finally:
        threading.excepthook = default_hook


def is_resource_error(error: Exception) -> bool:
    """Whether `error` is about a lack of memory or disk space."""
    return _is_out_of_memory(error) or _is_disk_full(error)


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or CPU_ALLOCATOR in str(error)


def _is_disk_full(error: BaseException | None) -> bool:
    """Whether the error, or one of its causes, is that the disk is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return True
        if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            return True
        error = error.__cause__ or error.__context__
    return False
