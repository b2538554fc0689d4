"""How much faster two workers search than one: python bench/workers.py writes bench/results/workers.json.

One and two processes of `detnas search --join`, each with one thread, search with the same small trained supernet by
turns. The rate counts from when all of them are at work to the last candidate's end: waiting for each other at the end
of every generation is in it, starting the processes is not. What they find is compared, too.

With `--keep FOLDER` the supernet stays there for the next time; with `--tiny` it is a quick trial that prints only.
About five minutes on two quiet cores, two of them for the supernet.
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
import yaml
from machine import machine
from supernets import TINY, supernets_folder, train

from detnas.files import read_json_lines, write_json
from detnas.run_directory import RECIPE, stored_run

ROUNDS = 1 if TINY else 3
WORKERS = (1, 2)
SEARCH = {"evaluations": 6, "population": 3, "mutants": 1, "crossovers": 1} if TINY else {"evaluations": 60}


def searched(trained: Path, workers: int) -> tuple[float, list[dict[str, Any]]]:
    """Candidates a minute of so many workers, and what they found."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "run"
        shutil.copytree(trained, copy, ignore=shutil.ignore_patterns("search"))
        stored = stored_run(copy)
        stored["search"] |= SEARCH
        (copy / RECIPE).write_text(yaml.safe_dump(stored))
        command = [sys.executable, "-m", "detnas", "search", str(copy), "--join"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        running = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for _ in range(workers)]
        for process in running:
            if process.wait():
                raise SystemExit(f"{' '.join(command)} failed")
        trials = optuna.load_study(study_name="search", storage=f"sqlite:///{copy}/search/study.db").trials
        rate = 60 * _rate([(t.datetime_start, t.datetime_complete) for t in trials if t.datetime_complete], workers)
        rows = read_json_lines(copy / "search/candidates.jsonl")
    return rate, [{key: row[key] for key in row if key != "seconds"} for row in rows]


def _rate(spells: list[tuple[Any, Any]], workers: int) -> float:
    """Candidates a second, given when each began and ended, since all workers were at work for the first time."""
    starts = [start for start, _ in spells]
    together = [start for start in starts if sum(one <= start < end for one, end in spells) == workers]
    begin = min(together or starts)
    parts = [(end - max(start, begin)) / (end - start) for start, end in spells if end > begin]
    return float(sum(parts) / (max(end for _, end in spells) - begin).total_seconds())


def main() -> None:
    rates: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    found = []
    with supernets_folder() as runs:
        train("retinanet", runs)
        for _ in range(ROUNDS):
            for workers in WORKERS:
                rate, rows = searched(runs / "retinanet", workers)
                rates[workers].append(round(rate, 2))
                found.append(rows)
                print(f"{workers}: {rate:.1f} candidates a minute")
    result = {
        "machine": machine(),
        "threads of a worker": 1,
        "search": SEARCH,
        "candidates a minute": rates,
        "ratio": round(median(rates[2]) / median(rates[1]), 3),
        "the same candidates with the same fitness": all(rows == found[0] for rows in found),
    }
    print(json.dumps(result, indent=1))
    if not TINY:
        write_json(Path(__file__).parent / "results" / "workers.json", result)


if __name__ == "__main__":
    main()
