"""What users get: whole runs of `own-data-quick`, from ImageNet weights, and of `own-data-scratch`, on real images.

The winner's scores on the validation set count, as `detnas run RECIPE --data DIR` reports them. A run takes about a
quarter of an hour on one core. The seconds are those of all stages until the winner is trained.
"""

from pathlib import Path

from detnas.config import Recipe
from detnas.run.pipeline import run
from detnas.rundir.layout import (
    BEST,
    EVALUATION,
    FINETUNE,
    PRETRAIN,
    SEARCH,
    SUPERNET_FINETUNE,
    SUPERNET_PRETRAIN,
    TRAINING_DONE,
    WINNER,
)
from detnas.utils.progress import Progress
from research.trials import SETS, DataSets, Trials, Unit
from research.workspace import Row, Summary, Tiny, Workspace, load_changed, seconds_of

RECIPE = "own-data-quick"
WAYS = {
    RECIPE: ("baselines=[efficientnet-lite0]",),
    "own-data-scratch": (
        "baselines=[]",
        "supernet_pretrain.steps=2400",
        "supernet_finetune.steps=2400",
        "pretrain.steps=1200",
        "finetune.steps=2000",
    ),
}
"""The recipes, and changes to them. From scratch only what the search finds is trained, with twice the steps of the
recipe, so that it has at least the time that `own-data-quick` takes until its winner is trained."""
STAGES = (SUPERNET_PRETRAIN, SUPERNET_FINETUNE, SEARCH, f"{PRETRAIN}/{WINNER}", f"{FINETUNE}/{WINNER}")


def trials(workspace: Workspace) -> Trials:
    return Trials(workspace, "own_data", "", WAYS, SETS, (0, 1, 2))


def recipe_of(workspace: Workspace, name: str, seed: int) -> Recipe:
    return load_changed(name, [*WAYS[name], f"seed={seed}"], workspace.tiny)


def supernet_run(workspace: Workspace, data: Path, seed: int) -> Path:
    """The directory of a run of `own-data-quick`, whose supernet is trained unless that is done."""
    unit = (RECIPE, data.name, seed)
    folder = trials(workspace).folder(unit)
    with workspace.lock(folder.name):
        # Only then: a run is continued alone, and where the supernet is trained, others may be training networks.
        if not TRAINING_DONE.exists(folder / SUPERNET_FINETUNE):
            run(recipe_of(workspace, RECIPE, seed), folder, data, progress=Progress(), stages=(SUPERNET_FINETUNE,))
    return folder


def work(workspace: Workspace, unit: Unit, folder: Path, data: Path) -> Row:
    """Run the recipe that is the way of a unit."""
    name, _, seed = unit
    run(recipe_of(workspace, name, seed), folder, data, progress=Progress())
    networks = {
        path.parent.name: EVALUATION.read(path.parent)
        for path in sorted(folder.glob(f"{FINETUNE}/*/{EVALUATION.name}"))
    }
    winner = networks[WINNER].scores
    return {
        **{score: round(winner[score] or 0.0, 5) for score in ("mAP", "AP50")},
        "architecture": networks[WINNER].architecture,
        "fitness": round(BEST.read(folder / SEARCH).fitness, 5),
        "baselines": {name: round(one.scores["mAP"] or 0.0, 5) for name, one in networks.items() if name != WINNER},
        "seconds": round(sum(seconds_of(folder / stage) for stage in STAGES)),
    }


def main(data_sets: DataSets, summary: Summary = False, tiny: Tiny = False) -> None:
    """Run both recipes on four data sets. Writes research/results/own_data.json."""
    both = trials(Workspace(tiny))
    if not summary:
        both.measure(data_sets, lambda unit, folder, data: work(both.workspace, unit, folder, data))
    both.summarize()
