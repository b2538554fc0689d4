"""Keeps the results of finished runs."""

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.command import machine
from detnas.run.opening import load_run
from detnas.rundir import layout
from detnas.utils.files import read_json, write_json
from research import pages
from research.workspace import RESULTS

STAGES = (layout.SUPERNET_PRETRAIN, layout.SUPERNET_FINETUNE, layout.SEARCH, layout.PRETRAIN, layout.FINETUNE)


def record(directory: Path) -> None:
    recipe, data = load_run(directory)
    networks = [
        layout.EVALUATION.read(directory / layout.FINETUNE / name) for name in (layout.WINNER, *recipe.baselines)
    ]
    seconds = {
        stage: sum(float(read_json(done)["seconds"]) for done in (directory / stage).rglob(layout.TRAINING_DONE.name))
        for stage in STAGES
    }
    candidates = layout.CANDIDATES.read(directory / layout.SEARCH)
    write_json(
        RESULTS / f"{recipe.name}.json",
        {
            "recipe": recipe.name,
            "detector": recipe.detector.type,
            "data": data.name if recipe.data.shapes is None else "shapes (embedded)",
            "machine": machine(),
            "seconds": seconds,
            "candidates": len(candidates),
            "fitness": sorted(round(one.fitness, 4) for one in candidates),
            "networks": [layout.EVALUATION.dump(one) for one in networks],
        },
    )


def main(runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="The directory of a finished run.")]) -> None:
    """Keep the results of finished runs.

    Writes research/results/NAME.json for each RUN, by the name of its recipe, and the pages.
    """
    for run in runs:
        record(run)
    pages.main()
