"""How well the supernet of the mobile space ranks networks on real images.

16 architectures of the space `mobile`, spread evenly over its MACs, are trained standalone as `own-data-quick` does it,
on two data sets with two seeds, and compared with their fitness by the supernet of that run. Kendall's tau is that of
the fitness with the mean mAP of the two trainings, the mean over the two supernets, with its interval over the
networks; beside it stand the MACs alone. The supernets are those of `python -m research own-data`. The networks of a
supernet take more than an hour on one core; several processes share them.
"""

from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.command import machine
from detnas.evaluation.metrics.correlation import with_interval
from detnas.run.evaluator import build_evaluator
from detnas.run.networks import train_standalone
from detnas.run.opening import open_run
from detnas.run.ranking import spread
from detnas.rundir import layout
from detnas.spaces import Architecture, BudgetSampler
from detnas.utils.files import read_json, try_lock_file, write_json
from detnas.utils.progress import Progress
from research.own_data import RECIPE, recipe_of, supernet_run
from research.statistics import mean_tau, reliability, tau_gained
from research.trials import DataSets
from research.workspace import Row, Summary, Tiny, Workspace, standalone_results

NAME = "mobile_ranking"
SETS = ("trees", "bccd")
SEEDS = (0, 1)


def architectures(workspace: Workspace) -> list[Architecture]:
    recipe = recipe_of(workspace, RECIPE, 0)
    return spread(BudgetSampler(recipe.search_space(), recipe.cost_budget()), 3 if workspace.tiny else 16, seed=0)


def result_file(workspace: Workspace, data: str, seed: int, architecture: Architecture) -> Path:
    return workspace.runs / NAME / f"{data}-seed{seed}" / f"{architecture.hyphenated}.json"


def measure(workspace: Workspace, data: Path, seed: int) -> None:
    """Train and evaluate the networks of a unit that are not done and on which no other process works."""
    folder, recipe = supernet_run(workspace, data, seed), recipe_of(workspace, RECIPE, seed)
    left = [one for one in architectures(workspace) if not result_file(workspace, data.name, seed, one).exists()]
    if not left:
        return
    with open_run(recipe, folder, None, Progress(), hold="shared") as opened:
        evaluator = build_evaluator(opened)
        for architecture in left:
            with try_lock_file(layout.network_lock(folder, architecture.hyphenated)) as mine:
                file = result_file(workspace, data.name, seed, architecture)
                if mine and not file.exists():
                    opened.progress.log(f"{data.name}, seed {seed}: {architecture}")
                    train_standalone(opened, architecture)
                    fitness = evaluator(architecture)[recipe.search.score_name]
                    found = standalone_results(folder, architecture)
                    assert found is not None and fitness is not None
                    write_json(file, {"fitness": round(fitness, 5), **found})


def summarize(workspace: Workspace, data: str) -> Row | None:
    """How both supernets of a data set rank the networks; None unless all are trained."""
    chosen = architectures(workspace)
    files = [[result_file(workspace, data, seed, one) for seed in SEEDS] for one in chosen]
    if not all(file.exists() for row in files for file in row):
        return None
    rows = [[read_json(file) for file in row] for row in files]
    fitness, scores = (np.array([[one[key] for one in row] for row in rows]) for key in ("fitness", "mAP"))
    macs = np.array([[row[0]["macs"]] for row in rows], np.float64)
    truth = scores.mean(axis=1)
    gained = partial(tau_gained, len(SEEDS))
    return {
        "Kendall's tau": vars(with_interval(mean_tau, fitness, truth)),
        "of MACs alone": vars(with_interval(mean_tau, macs, truth)),
        "tau less that of MACs": vars(with_interval(gained, np.column_stack([fitness, macs]), truth)),
        "networks and seeds": reliability(scores.tolist()),
        "networks": [
            {"architecture": str(one), "macs": row[0]["macs"], "mAP": [of["mAP"] for of in row],
             "AP50": [of["AP50"] for of in row], "fitness": [of["fitness"] for of in row]}
            for one, row in zip(chosen, rows, strict=True)
        ],
    }  # fmt: skip


def main(data_sets: DataSets, summary: Summary = False, tiny: Tiny = False) -> None:
    """Rank networks of the mobile space on real images. Writes research/results/mobile_ranking.json."""
    workspace = Workspace(tiny)
    for seed in () if summary else SEEDS:
        for name in SETS:
            measure(workspace, data_sets / name, seed)
    found = {name: row for name in SETS if (row := summarize(workspace, name)) is not None}
    print(f"{len(found)} of {len(SETS)} data sets are done")
    if found:
        write_json(workspace.results(NAME), {"recipe": RECIPE, "machine": machine(), "data sets": found})
