"""The modules of the standard library that only Linux and macOS have."""

import os

from detnas.utils.errors import UserError

try:
    import fcntl
    import resource
except ImportError:
    raise UserError(
        "needs Linux or macOS (it locks files by fcntl, which Windows lacks); on Windows use WSL 2"
    ) from None

__all__ = ["cores", "fcntl", "resource"]


def cores() -> int:
    """The number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
