"""What a forked process costs in memory."""

import gc
import os
import struct
from collections.abc import Callable
from pathlib import Path


def copied_by(read: Callable[[], object]) -> int:
    """Bytes of memory that a forked process comes to have for itself alone while it calls `read`."""
    gc.collect()
    gc.freeze()  # looking for garbage among the parent's objects writes to them too
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        before = _private()
        read()
        os.write(sending, struct.pack("q", _private() - before))
        os._exit(0)
    os.close(sending)
    with os.fdopen(receiving, "rb") as pipe:
        (grown,) = struct.unpack("q", pipe.read(8))
    os.waitpid(child, 0)
    gc.unfreeze()
    return int(grown)


def _private() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Private_Dirty", "Private_Clean")))
