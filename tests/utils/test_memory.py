"""Peaks of memory, and what is left."""

import mmap
from pathlib import Path

import pytest
import torch

import detnas.utils.memory as memory
from detnas.utils.memory import PeakMemory, available_memory, used_memory

MEGABYTE = 2**20


def test_a_peak_is_seen_and_forgotten() -> None:
    peak = PeakMemory(torch.device("cpu"))
    if not peak.can_reset:
        pytest.skip("this system cannot reset a process's peak")
    with mmap.mmap(-1, 64 * MEGABYTE) as block:
        block.write(b"x" * (64 * MEGABYTE))
        used = used_memory(torch.device("cpu"))
    assert peak.peak() >= used - MEGABYTE
    peak.reset()
    assert peak.peak() < used - 30 * MEGABYTE


def test_where_a_peak_cannot_be_forgotten_it_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CLEAR_REFS", Path("/nowhere/clear_refs"))
    peak = PeakMemory(torch.device("cpu"))
    assert not peak.can_reset and peak.peak() > 50 * MEGABYTE
    highest = peak.peak()
    peak.reset()
    assert peak.peak() >= highest


def test_available_memory_heeds_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine, limit, used = (tmp_path / name for name in ("meminfo", "max", "current"))
    machine.write_text("MemTotal:       9000000 kB\nMemAvailable:   5000000 kB\n")
    used.write_text("3000000000\n")
    monkeypatch.setattr(memory, "MACHINE", machine)
    monkeypatch.setattr(memory, "CONTAINER", ((limit, used),))
    assert available_memory() == 5_000_000 * 1024
    limit.write_text("max\n")
    assert available_memory() == 5_000_000 * 1024
    limit.write_text("4000000000\n")
    assert available_memory() == 1_000_000_000
    monkeypatch.setattr(memory, "MACHINE", tmp_path / "missing")
    assert available_memory() is None


def test_what_is_used_now_is_no_more_than_the_peak() -> None:
    cpu = torch.device("cpu")
    before = used_memory(cpu)
    with mmap.mmap(-1, 64 * MEGABYTE) as block:
        block.write(b"x" * (64 * MEGABYTE))
        # A machine short of memory may take pages of the program away meanwhile.
        assert used_memory(cpu) >= before + 30 * MEGABYTE
    peak = PeakMemory(cpu)  # which gives free memory back
    assert used_memory(cpu) <= peak.peak() + MEGABYTE


def test_where_the_system_does_not_say_it_is_the_most_that_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "STATUS", Path("/nowhere/status"))
    assert used_memory(torch.device("cpu")) > 50 * MEGABYTE
