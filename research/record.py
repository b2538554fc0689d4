"""Keeps the results of finished runs."""

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.command import machine
from detnas.data.run_data import stored_data
from detnas.run.opening import load_run
from detnas.rundir import layout
from detnas.rundir.directory import read_stored_run
from detnas.utils.files import read_json, write_json
from research import pages
from research.workspace import RESULTS

STAGES = (layout.SUPERNET_PRETRAIN, layout.SUPERNET_FINETUNE, layout.SEARCH, layout.PRETRAIN, layout.FINETUNE)


def record(directory: Path) -> None:
    recipe = load_run(directory)
    data = stored_data(directory, read_stored_run(directory))
    seconds = {
        stage: sum(float(read_json(done)["seconds"]) for done in (directory / stage).rglob(layout.TRAINING_DONE.name))
        for stage in STAGES
    }
    candidates = layout.CANDIDATES.read(directory / layout.SEARCH)
    names = (layout.WINNER, *recipe.baselines)
    evaluations = [layout.EVALUATION.read(directory / layout.FINETUNE / name) for name in names]
    results = {
        "recipe": recipe.name,
        "detector": recipe.detector.type,
        "data": data.name if recipe.data.shapes is None else "shapes (embedded)",
        "machine": machine(),
        "seconds": seconds,
        "candidates": len(candidates),
        "fitness": sorted(round(one.fitness, 4) for one in candidates),
        "networks": [layout.EVALUATION.dump(one) for one in evaluations],
    }
    write_json(RESULTS / f"{recipe.name}.json", results)


def main(runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="The directory of a finished run.")]) -> None:
    """Keep the results of finished runs. Writes research/results/RECIPE.json for each RUN, and the pages."""
    for run in runs:
        record(run)
    pages.main()
