"""Training architectures other than the winner as the winner is trained: others of the front, say."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detnas.distributed import comm
from detnas.run.networks import train_standalone
from detnas.run.opening import load_run, open_run
from detnas.run.page import write_page
from detnas.rundir.layout import FINETUNE, FRONT, SEARCH, WEIGHTS, Candidate
from detnas.spaces import Architecture
from detnas.utils.errors import UserError
from detnas.utils.progress import Progress


def retrain(
    directory: Path, architectures: Sequence[Architecture], progress: Progress, data: Path | None = None
) -> None:
    """Train `architectures` by the schedule of the winner of the run in `directory`, and evaluate them.

    Continues where it stopped. The networks appear in the run beside the baselines, named by their digits, each with a
    detector.safetensors of its own; the page is written again. `data` is where the run's data set is now, if that was
    moved.

    Raises `UserError` if `directory` holds no run, or one of them is not an architecture of its space.
    """
    recipe = load_run(directory)
    for architecture in architectures:
        recipe.search_space().check(architecture)
    with open_run(recipe, directory, data, progress) as run:
        for architecture in architectures:
            train_standalone(run, architecture)
            progress.log(f"Weights: {directory / FINETUNE / architecture.hyphenated / WEIGHTS}")
        if comm.is_main_process():
            progress.log(f"Report: {write_page(directory, progress.log, run.data)}")


def spread_over_front(directory: Path, count: int) -> list[Architecture]:
    """`count` architectures of the front that the search in `directory` found, spread evenly over its cost, with the
    cheapest and the most expensive. Raises `UserError` if there are not so many."""
    objective = load_run(directory).search.second_objective
    front = comm.broadcast_from_main(lambda: [row.model_dump() for row in FRONT.find(directory / SEARCH) or []])
    if objective is None or not front:
        raise UserError(
            f"--front: {directory} holds no front; search one by --set search.sampler=nsga2 --set "
            "search.second_objective=macs"
        )
    if not 2 <= count <= len(front):
        raise UserError(f"--front {count}: the front has {len(front)} architectures; choose 2 or more of them")
    left = sorted((Candidate.model_validate(row) for row in front), key=lambda row: row.cost(objective))
    chosen = [left.pop(0), left.pop()]
    for wanted in np.linspace(chosen[0].cost(objective), chosen[1].cost(objective), count)[1:-1].tolist():
        nearest = min(left, key=lambda row: abs(row.cost(objective) - wanted))
        left.remove(nearest)
        chosen.append(nearest)
    chosen.sort(key=lambda row: row.cost(objective))
    return [Architecture.parse(row.architecture) for row in chosen]
