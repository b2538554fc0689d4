"""Keeps the results of finished runs."""

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.command import machine
from detnas.run.context import load_run
from detnas.rundir.layout import (
    CANDIDATES,
    EVALUATION,
    FINETUNE,
    PRETRAIN,
    SEARCH,
    SUPERNET_FINETUNE,
    SUPERNET_PRETRAIN,
    TRAINING_DONE,
    WINNER,
)
from detnas.utils.files import read_json, write_json
from research import pages
from research.workspace import RESULTS

STAGES = (SUPERNET_PRETRAIN, SUPERNET_FINETUNE, SEARCH, PRETRAIN, FINETUNE)


def record(directory: Path) -> None:
    recipe, data = load_run(directory)
    networks = [EVALUATION.read(directory / FINETUNE / name) for name in (WINNER, *recipe.baselines)]
    seconds = {
        stage: sum(float(read_json(done)["seconds"]) for done in (directory / stage).rglob(TRAINING_DONE.name))
        for stage in STAGES
    }
    candidates = CANDIDATES.read(directory / SEARCH)
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
            "networks": [EVALUATION.dump(one) for one in networks],
        },
    )


def main(runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="The directory of a finished run.")]) -> None:
    """Keep the results of finished runs.

    Writes research/results/NAME.json for each RUN, by the name of its recipe, and the pages.
    """
    for run in runs:
        record(run)
    pages.main()
