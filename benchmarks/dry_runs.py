"""What the paper's experiments would take on this machine, projected from dry runs on synthetic images."""

from dataclasses import asdict
from typing import Annotated

import typer

from benchmarks.command import RESULTS, machine
from detnas.config import load_recipe, recipe_names
from detnas.profiling.dry_run import dry_run
from detnas.utils.files import read_json, write_json
from detnas.utils.progress import Progress


def main(
    recipes: Annotated[
        list[str] | None, typer.Argument(metavar="RECIPE", help="Recipes by name; by default all paper-* ones.")
    ] = None,
) -> None:
    """Run recipes dry, five minutes each on two cores, and add the results to benchmarks/results/dry_runs.json."""
    file = RESULTS / "dry_runs.json"
    results = read_json(file) if file.exists() else {}
    for name in recipes or [name for name in recipe_names() if name.startswith("paper-")]:
        rows = dry_run(load_recipe(name), None, Progress())
        days = sum(row.projected for row in rows) / 86400
        results[name] = {"machine": machine(), "projected days": days, "rows": [asdict(row) for row in rows]}
        write_json(file, results)


if __name__ == "__main__":
    typer.run(main)
