"""Memory: the peak and current use of this process, and what is available."""

import sys
from pathlib import Path

import torch

from detnas.utils.allocator import release_freed_memory
from detnas.utils.posix import resource

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""Written to `clear_refs`, this resets the peak of the resident memory to its current size."""
MACHINE = Path("/proc/meminfo")
CONTAINER = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)
"""Files with the limit and the use of a container's memory, in Linux control groups version 2 and 1."""


class PeakMemory:
    """The peak memory since `reset`: of tensors on a GPU, or of this process's resident memory on a CPU.

    `can_reset` is False where the system cannot reset a process's peak; the peak since the process started counts then.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.can_reset = True
        self.reset()

    def reset(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            return
        release_freed_memory()
        try:
            CLEAR_REFS.write_text(RESET_PEAK)
        except OSError:
            self.can_reset = False

    def peak(self) -> int:
        """The peak in bytes."""
        if self.device.type == "cpu" and self.can_reset:
            return _kilobytes(STATUS, "VmHWM") * 1024
        return _process_peak(self.device)


def used_memory(device: torch.device) -> int:
    """Bytes used: on a GPU the peak of its tensors, on a CPU the resident memory now (its peak outside Linux)."""
    if device.type == "cpu" and STATUS.exists():
        return _kilobytes(STATUS, "VmRSS") * 1024
    return _process_peak(device)


def available_memory() -> int | None:
    """Bytes that this process can allocate without swapping, within its container; None outside Linux."""
    if not MACHINE.exists():
        return None
    left = _kilobytes(MACHINE, "MemAvailable") * 1024
    for limit, used in CONTAINER:
        if limit.exists() and (text := limit.read_text().strip()).isdigit():
            left = min(left, int(text) - int(used.read_text()))
    return left


def _process_peak(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _kilobytes(file: Path, name: str) -> int:
    """The number in a line such as `VmHWM:   12345 kB`."""
    return next(int(line.split()[1]) for line in file.read_text().splitlines() if line.startswith(f"{name}:"))
