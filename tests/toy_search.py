"""A search whose fitness needs no detector; run as a program, one of several workers that are killed at random.

    python toy_search.py FOLDER STORAGE SEED

Three workers search in FOLDER (STORAGE, if not empty, is the server's address), and one of them is killed, and another
begun, after every few candidates. Each evaluation is a line in FOLDER/evaluated; how many were killed is printed.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from detnas.config import SearchSettings
from detnas.search.evaluators.base import Evaluator
from detnas.search.study import optuna_internals
from detnas.search.study.study import search
from detnas.spaces import PAPER_OPS, Architecture, Budget, BudgetSampler, SearchSpace
from detnas.utils.progress import Progress

SPACE = SearchSpace("toy", 4, (8, 16, 24, 32), (2, 1, 2, 1))
SAMPLER = BudgetSampler(SPACE, Budget())
SETTINGS = SearchSettings(evaluations=60, population=12, num_parents=5, num_mutations=5, num_crossovers=4)
GAINS = np.random.default_rng(0).random((6, len(PAPER_OPS)))
WORKERS = 3


def fitness(architecture: Architecture) -> dict[str, float | None]:
    value = float(GAINS[range(6), list(architecture.ops)].mean())
    return {"mAP": value, "AP50": value / 2}


def toy_search(
    directory: Path, evaluator: Evaluator = fitness, progress: Progress | None = None, **changes: Any
) -> None:
    """Search with changed settings, and let what is left of the study's name."""
    name = changes.pop("name", "search")
    settings = SETTINGS.model_copy(update=changes)
    search(evaluator, SAMPLER, settings, directory, seed=7, progress=progress or Progress(quiet=True), name=name)


def noted(log: Path) -> Evaluator:
    """Takes a moment, and notes it in `log` when it begins."""

    def evaluate(architecture: Architecture) -> dict[str, float | None]:
        with log.open("a") as file:  # of several processes, each line whole
            file.write(f"{architecture}\n")
        time.sleep(0.02)
        return fitness(architecture)

    return evaluate


def evaluations(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def killed_at_random(folder: Path, url: str | None, seed: int) -> int:
    chance = random.Random(seed)
    log = folder / "evaluated"
    optuna_internals.HEARTBEAT, optuna_internals.GRACE = 1, 4
    workers: set[int] = set()
    kills, evaluated, until = 0, 0, 3
    missing = WORKERS
    while True:
        for _ in range(missing):
            child = os.fork()
            if child == 0:
                os._exit(_worked(folder, url, log))
            workers.add(child)
        missing = 0
        time.sleep(0.005)
        while workers and (ended := os.waitpid(-1, os.WNOHANG))[0]:
            workers.remove(ended[0])
            status = os.waitstatus_to_exitcode(ended[1])
            assert status in (0, -signal.SIGKILL), status
            missing += status != 0
        if not workers and not missing:
            return kills
        evaluated = len(evaluations(log))
        if workers and evaluated >= until:
            time.sleep(chance.uniform(0, 0.04))
            os.kill(chance.choice(sorted(workers)), signal.SIGKILL)
            kills += 1
            until = evaluated + chance.randint(1, 5)


def _worked(folder: Path, url: str | None, log: Path) -> int:
    try:
        toy_search(folder, noted(log), storage=url)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    print(killed_at_random(Path(sys.argv[1]), sys.argv[2] or None, int(sys.argv[3])))
