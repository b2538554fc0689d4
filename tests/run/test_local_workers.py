"""Workers that a run starts itself: what it finds is the same for any number of them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import finals_runs
import pytest
import torch
from finals_runs import found
from paths import ROOT
from run_results import command
from small_recipe import small_recipe, write_recipe

import detnas.run.local_workers as local_workers
import detnas.run.pipeline as pipeline
from detnas.run.local_workers import count_workers, one_thread
from detnas.run.opening import open_run
from detnas.utils.progress import Progress

CHANGES: dict[str, Any] = finals_runs.CHANGES | {
    "finals": {"challengers": 3, "incumbents": 1, "rungs": [0.5, 1.0]},
    "search__evaluations": 8,
    "search__population": 4,
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, blocks: Path) -> Path:
    """A run of one process and one thread."""
    folder = tmp_path_factory.mktemp("alone")
    recipe = write_recipe(folder / "recipe.yaml", **CHANGES)
    with one_thread():
        return pipeline.run(str(recipe), folder / "run", blocks)


def test_a_run_that_starts_a_worker_finds_the_same(
    alone: Path, blocks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    threads = torch.get_num_threads()
    pipeline.run(small_recipe(**CHANGES, workers=2), tmp_path / "run", blocks, progress=Progress())
    said = capsys.readouterr().out
    assert said.count("2 processes of one thread each share the search and the trainings after it") == 1
    assert "a worker failed" not in said and torch.get_num_threads() == threads
    assert found(tmp_path / "run") == found(alone)


def test_a_worker_that_fails_is_told_and_does_no_harm(
    alone: Path, blocks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(run: Any, errors: Any) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, "-c", "raise SystemExit('no memory')"], stderr=errors)

    monkeypatch.setattr(local_workers, "_start", failing)
    pipeline.run(small_recipe(**CHANGES, workers=2), tmp_path / "run", blocks, progress=Progress())
    assert "a worker failed, and others did its work: no memory" in capsys.readouterr().out
    assert found(tmp_path / "run") == found(alone)


def test_a_worker_ends_with_the_run_that_started_it(alone: Path, tmp_path: Path) -> None:
    """Also if that is killed, and cannot tell it."""
    script = """
import os, subprocess, sys, time
code = "from detnas.run.local_workers import end_with_parent as end; import time; end(); time.sleep(60)"
worker = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "DETNAS_PARENT": str(os.getpid())})
print(worker.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    time.sleep(5)
    os.kill(worker, 0)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for _ in range(300):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("the worker is still there")


@pytest.mark.parametrize(
    ("workers", "memory", "count"),
    [(1, None, 1), (3, 10**9, 3), ("auto", None, 4), ("auto", 5 * 10**9, 3), ("auto", 0, 1)],
)
def test_there_are_as_many_as_cores_and_memory_allow(
    workers: Any, memory: int | None, count: int, blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_workers, "cores", lambda: 4)
    monkeypatch.setattr(local_workers, "available_memory", lambda: memory)
    monkeypatch.setattr(local_workers, "used_memory", lambda device: 2 * 10**9)
    recipe = small_recipe(**{**CHANGES, "workers": workers})
    with open_run(recipe, tmp_path / "run", blocks, Progress(quiet=True)) as run:
        assert count_workers(run) == count


def test_whoever_joins_a_finished_run_has_nothing_to_do(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(alone, copy)
    assert command(monkeypatch, "join", copy) == 0
    assert "winner: " in capsys.readouterr().out and found(copy) == found(alone)
