"""How much memory this process has used, and how much is left."""

import resource
import sys
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")
CLEAR_PEAK = "5"
"""What Linux takes for: set the peak of the resident memory back to what is resident now."""
MACHINE = Path("/proc/meminfo")
CONTAINER = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)
"""Limit and use of a container, in either version of Linux's control groups."""


class PeakMemory:
    """The most memory used on a device since `reset`: a GPU's tensors, or this process's resident memory.

    `resets` is False where the system cannot forget a process's earlier peak: that of the whole process is given then.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.resets = True
        self.reset()

    def reset(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            return
        try:
            CLEAR.write_text(CLEAR_PEAK)
        except OSError:
            self.resets = False

    def peak(self) -> int:
        """Bytes."""
        if self.device.type == "cpu" and self.resets:
            return _kilobytes(STATUS, "VmHWM") * 1024
        return _most_so_far(self.device)


def used_memory(device: torch.device) -> int:
    """Bytes: on a GPU the most that its tensors have taken, on a CPU what this process has resident now.

    Where the system does not say what is resident it is the most that was.
    """
    if device.type == "cpu" and STATUS.exists():
        return _kilobytes(STATUS, "VmRSS") * 1024
    return _most_so_far(device)


def available_memory() -> int | None:
    """Bytes that this process can still have without swapping; None where the system does not say."""
    if not MACHINE.exists():
        return None
    left = _kilobytes(MACHINE, "MemAvailable") * 1024
    for limit, used in CONTAINER:
        if limit.exists() and (text := limit.read_text().strip()).isdigit():
            left = min(left, int(text) - int(used.read_text()))
    return left


def _most_so_far(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _kilobytes(file: Path, name: str) -> int:
    """The number of a line such as `VmHWM:   12345 kB`."""
    return next(int(line.split()[1]) for line in file.read_text().splitlines() if line.startswith(f"{name}:"))
