"""The allocator: what is freed is kept, and given back when that is asked for."""

import subprocess
import sys

import pytest

from detnas.utils import allocator

SCRIPT = """
import sys
import torch
from detnas.utils.allocator import keep_freed_memory, release_freed_memory
from detnas.utils.posix import resource

def faults(work):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def work():
    for _ in range(5):
        torch.zeros(16_000_000).add_(1)

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

work()
print(faults(work))
keep_freed_memory()
work()
print(faults(work), resident())
release_freed_memory()
print(resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="another C library")
def test_freed_memory_is_kept_until_it_is_given_back() -> None:
    """Five tensors of 64 MB are 78,000 pages of 4 KB."""
    said = subprocess.check_output([sys.executable, "-c", SCRIPT], text=True).split()
    before, after, kept, left = map(int, said)
    assert before > 50_000 and after < 2_000
    assert kept - left > 10e6


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    allocator.keep_freed_memory()
    allocator.release_freed_memory()
