"""What the paper's experiments would take on this machine: python -m benchmarks.dry_runs [RECIPE...].

Rehearses each recipe (all paper-* ones unless named) on synthetic images and adds what it found to
benchmarks/results/dry_runs.json. About five minutes a recipe on two cores.
"""

import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.machine import machine
from detnas.config import load_recipe, recipe_names
from detnas.profiling.dry_run import dry_run
from detnas.utils.files import read_json, write_json
from detnas.utils.progress import Progress

RESULTS = Path(__file__).parent / "results" / "dry_runs.json"


def main() -> None:
    results = read_json(RESULTS) if RESULTS.exists() else {}
    for name in sys.argv[1:] or [name for name in recipe_names() if name.startswith("paper-")]:
        rows = dry_run(load_recipe(name), None, Progress())
        days = sum(row.projected for row in rows) / 86400
        results[name] = {"machine": machine(), "projected days": days, "rows": [asdict(row) for row in rows]}
        write_json(RESULTS, results)


if __name__ == "__main__":
    main()
