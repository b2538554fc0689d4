"""The allocator of the C library, where that is glibc: on most Linux systems."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of `mallopt`, as malloc.h numbers them."""


def keep_freed_memory() -> None:
    """Let this process keep memory that it frees, instead of giving it back to the system.

    A training step on a CPU allocates the same large tensors again and again. By default each of them is mapped and
    unmapped, and the first write to each page is a fault: 100,000 in a step of `own-data-quick`.
    """
    library = _glibc()
    if library is not None:
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        library.mallopt(M_MMAP_MAX, 0)


def release_freed_memory() -> None:
    """Give all memory back that is free now, so that what is used from here on can be measured."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
