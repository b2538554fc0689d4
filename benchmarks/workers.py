"""How much faster two workers search than one.

One and two processes of `detnas search --join`, each with one thread, take turns to search with the same small trained
supernet, in the paper's generations of fifty. The rate counts from the moment when all workers evaluate to the end of
the last candidate: it includes waiting for each other at the end of every generation, but not starting the processes.
The candidates and their fitness are compared, too. Two independent searches side by side show what the machine allows.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import optuna
import typer

from benchmarks.command import Keep, Tiny, save
from benchmarks.supernets import supernets_folder, train
from detnas.rundir.directory import read_stored_run, write_stored_run
from detnas.utils.files import read_json_lines

WAYS = ("one worker", "two workers", "two searches")
PAPER = {"evaluations": 100, "population": 50, "num_parents": 10, "num_mutations": 20, "num_crossovers": 20}
TRIAL = {"evaluations": 6, "population": 3, "num_parents": 2, "num_mutations": 1, "num_crossovers": 1}


def search(trained: Path, way: str, settings: dict[str, int]) -> tuple[float, list[dict[str, Any]]]:
    """Candidates a minute, and the rows of candidates.jsonl without their seconds."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [Path(folder) / name for name in (("one", "other") if way == "two searches" else ("one",))]
        for copy in runs:
            shutil.copytree(trained, copy, ignore=shutil.ignore_patterns("search"))
            stored = read_stored_run(copy)
            stored.recipe["search"] |= settings
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
        spans = [(trial.datetime_start, trial.datetime_complete) for trial in trials if trial.datetime_complete]
        rows = read_json_lines(runs[0] / "search/candidates.jsonl")
    found = [{key: row[key] for key in row if key != "seconds"} for row in rows]
    return 60 * _rate(spans, len(workers)), found


def _rate(spans: list[tuple[Any, Any]], workers: int) -> float:
    """Candidates a second from the moment when all workers evaluate, given the start and end of each candidate."""
    starts = [start for start, _ in spans]
    together = [start for start in starts if sum(one <= start < end for one, end in spans) == workers]
    begin = min(together or starts)
    parts = [(end - max(start, begin)) / (end - start) for start, end in spans if end > begin]
    return float(sum(parts) / (max(end for _, end in spans) - begin).total_seconds())


def main(keep: Keep = None, tiny: Tiny = False) -> None:
    """Compare two workers with one, in twelve minutes on two idle cores; write benchmarks/results/workers.json."""
    settings = TRIAL if tiny else PAPER
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    found = []
    with supernets_folder(keep) as runs:
        train("retinanet", runs, tiny)
        for _ in range(1 if tiny else 3):
            for way in WAYS:
                rate, rows = search(runs / "retinanet", way, settings)
                rates[way].append(round(rate, 2))
                found.append(rows)
                print(f"{way}: {rate:.1f} candidates a minute", flush=True)
    one = median(rates["one worker"])
    result = {
        "threads of a worker": 1,
        "search": settings,
        "candidates a minute": rates,
        "times one worker": {way: round(median(rates[way]) / one, 3) for way in WAYS[1:]},
        "the same candidates with the same fitness": all(rows == found[0] for rows in found),
    }
    save("workers", result, tiny)


if __name__ == "__main__":
    typer.run(main)
