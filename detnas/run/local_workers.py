"""Workers on this machine that a run starts itself: on a CPU two processes of one thread do more than one of two."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import torch

from detnas.distributed import comm
from detnas.run.context import Run
from detnas.utils.memory import available_memory, used_memory
from detnas.utils.posix import cores

LEAST_MEMORY = 10**9
"""Bytes that a worker is assumed to need, unless this process uses more."""
PATIENCE = 30.0
"""Seconds that workers have to end once nothing is left to do."""
PARENT = "DETNAS_PARENT"
"""The environment variable that tells a worker the process that started it."""


def count_workers(run: Run) -> int:
    """How many processes share the work on a run, this one included: what the recipe says, or as many as the cores and
    the memory of a CPU allow; one with a GPU, or if torchrun has started several."""
    if run.device.type != "cpu" or comm.world_size() > 1:
        return 1
    if run.recipe.workers != "auto":
        return run.recipe.workers
    memory = available_memory()
    needed = max(LEAST_MEMORY, used_memory(run.device))
    return cores() if memory is None else min(cores(), 1 + memory // needed)


@contextmanager
def local_workers(run: Run) -> Iterator[None]:
    """Let further processes, of one thread each as this one then is, share the work on a run until the block ends.

    A worker that fails leaves its work to the others.
    """
    count = count_workers(run)
    if count == 1:
        yield
        return
    run.progress.log(f"{count} processes of one thread each share the search and the trainings after it")
    with one_thread(), tempfile.TemporaryFile() as errors:
        workers = [_start(run, errors) for _ in range(count - 1)]
        try:
            yield
            _wait(workers)
        finally:
            for worker in workers:
                worker.terminate()
            ends = [worker.wait() for worker in workers]
        if any(end > 0 for end in ends):
            errors.seek(0)
            *_, last = ["", *errors.read().decode(errors="replace").splitlines()]
            run.progress.log(f"  a worker failed, and others did its work: {last}")


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread until the block ends."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def end_with_parent() -> None:
    """In a worker that a run has started: end when that run has ended, however it did."""
    parent = os.environ.get(PARENT)

    def watch() -> None:
        while str(os.getppid()) == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    if parent is not None:
        threading.Thread(target=watch, daemon=True).start()


def _start(run: Run, errors: IO[bytes]) -> "subprocess.Popen[bytes]":
    # To find what this process finds, and nothing else.
    paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "detnas", "join", str(run.directory)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, PARENT: str(os.getpid())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
    )


def _wait(workers: "list[subprocess.Popen[bytes]]") -> None:
    """Wait for workers that have nothing left to do."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and any(worker.poll() is None for worker in workers):
        time.sleep(0.1)
