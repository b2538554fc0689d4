"""How much faster two workers search than one: python -m benchmarks.workers writes benchmarks/results/workers.json.

One and two processes of `detnas search --join`, each with one thread, search with the same small trained supernet by
turns, in the paper's generations of fifty. The rate counts from when all of them are at work to the last
candidate's end: waiting for each other at the end of every generation is in it, starting the processes is not. What
they find is compared, too. Two searches side by side that know nothing of each other show what the machine allows.

With `--keep FOLDER` the supernet stays there for the next time; with `--tiny` it is a quick trial that prints only.
About twelve minutes on two quiet cores, two of them for the supernet.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import optuna

from benchmarks.machine import machine
from benchmarks.supernets import TINY, supernets_folder, train
from detnas.rundir.directory import read_stored_run, write_stored_run
from detnas.utils.files import read_json_lines, write_json

ROUNDS = 1 if TINY else 3
WAYS = ("one worker", "two workers", "two searches")
PAPER = {"evaluations": 100, "population": 50, "num_parents": 10, "num_mutations": 20, "num_crossovers": 20}
SEARCH = (
    {"evaluations": 6, "population": 3, "num_parents": 2, "num_mutations": 1, "num_crossovers": 1} if TINY else PAPER
)


def searched(trained: Path, way: str) -> tuple[float, list[dict[str, Any]]]:
    """Candidates a minute, and what was found."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [Path(folder) / name for name in (("one", "other") if way == "two searches" else ("one",))]
        for copy in runs:
            shutil.copytree(trained, copy, ignore=shutil.ignore_patterns("search"))
            stored = read_stored_run(copy)
            stored.recipe["search"] |= SEARCH
            write_stored_run(copy, stored)
        workers = [runs[0]] if way == "one worker" else [runs[0], runs[-1]]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        commands = [[sys.executable, "-m", "detnas", "search", str(run), "--join"] for run in workers]
        running = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for command in commands]
        for process, command in zip(running, commands, strict=True):
            if process.wait():
                raise SystemExit(f"{' '.join(command)} failed")
        trials = [
            trial
            for run in runs
            for trial in optuna.load_study(study_name="search", storage=f"sqlite:///{run}/search/study.db").trials
        ]
        spells = [(trial.datetime_start, trial.datetime_complete) for trial in trials if trial.datetime_complete]
        rows = read_json_lines(runs[0] / "search/candidates.jsonl")
    found = [{key: row[key] for key in row if key != "seconds"} for row in rows]
    return 60 * _rate(spells, len(workers)), found


def _rate(spells: list[tuple[Any, Any]], workers: int) -> float:
    """Candidates a second, given when each began and ended, since all workers were at work for the first time."""
    starts = [start for start, _ in spells]
    together = [start for start in starts if sum(one <= start < end for one, end in spells) == workers]
    begin = min(together or starts)
    parts = [(end - max(start, begin)) / (end - start) for start, end in spells if end > begin]
    return float(sum(parts) / (max(end for _, end in spells) - begin).total_seconds())


def main() -> None:
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    found = []
    with supernets_folder() as runs:
        train("retinanet", runs)
        for _ in range(ROUNDS):
            for way in WAYS:
                rate, rows = searched(runs / "retinanet", way)
                rates[way].append(round(rate, 2))
                found.append(rows)
                print(f"{way}: {rate:.1f} candidates a minute", flush=True)
    one = median(rates["one worker"])
    result = {
        "machine": machine(),
        "threads of a worker": 1,
        "search": SEARCH,
        "candidates a minute": rates,
        "times one worker": {way: round(median(rates[way]) / one, 3) for way in WAYS[1:]},
        "the same candidates with the same fitness": all(rows == found[0] for rows in found),
    }
    print(json.dumps(result, indent=1))
    if not TINY:
        write_json(Path(__file__).parent / "results" / "workers.json", result)


if __name__ == "__main__":
    main()
