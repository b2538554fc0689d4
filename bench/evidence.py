"""What the benches on the search's worth share: the recipe, its data, the folder and the architectures.

Their work is cut into units, each in a folder of its own: what is done is not done again, and a process takes only what
no other one is at work on. Start a bench as often as there are cores, kill it whenever you like. With `--tiny` it is a
quick trial in a folder of its own.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from detnas.config import Recipe, load_recipe
from detnas.data.shapes_once import draw_once
from detnas.files import lock_when_free
from detnas.metrics.correlation import with_interval
from detnas.progress import Progress
from detnas.ranking import spread
from detnas.spaces import Architecture, BudgetSampler

TINY = "--tiny" in sys.argv
RUNS = Path("runs") / ("evidence-tiny" if TINY else "evidence")
RESULTS = RUNS / "results" if TINY else Path(__file__).parent / "results"
BASES = {"retinanet": "shapes-quick", "fpn": "shapes-quick-fpn"}
CHANGES = (
    # So few as the demo's 200 add noise of their own.
    "data.shapes.val=600",
    "finetune.steps=800",
    "detector.fpn_channels=32",
)
"""To the demo's recipe: the benchmark's data and how a network is trained alone."""
TRIAL = (
    *(f"data.shapes.{name}={count}" for name, count in (("train", 60), ("val", 12), ("crops", 60))),
    *("warm_start=2", "search.evaluations=6", "search.population=3", "search.parents=2"),
    *("search.mutants=1", "search.crossovers=1", "search.pictures=8", "search.recalibration_batches=2"),
    *(
        f"{stage}.{field}=4".replace("warmup=4", "warmup=2")
        for stage in ("supernet_pretrain", "supernet_finetune", "pretrain", "finetune")
        for field in ("steps", "warmup")
    ),
)
COUNT = 5 if TINY else 48
SEEDS = (0, 1)


def recipe_of(detector: str = "retinanet", seed: int = 0, changes: Sequence[str] = ()) -> Recipe:
    """The recipe of the benches with this detector and seed, and `changes` beside theirs."""
    return load_recipe(BASES[detector], [*CHANGES, *(TRIAL if TINY else ()), *changes, f"seed={seed}"])


def data_folder() -> Path:
    """The data set that all runs share, drawn by the first process that needs it."""
    shapes = recipe_of().data.shapes
    assert shapes is not None
    RUNS.mkdir(parents=True, exist_ok=True)
    with (RUNS / ".data.lock").open("w") as held:
        lock_when_free(held)
        draw_once(RUNS / "data", shapes, begun=False, say=Progress().say)
    return RUNS / "data"


def architectures() -> list[Architecture]:
    """Those of the benchmark: the ones of one op throughout that the budget allows, then even over its FLOPs."""
    recipe = recipe_of()
    sampler = BudgetSampler(recipe.search_space(), recipe.cost_budget())
    plain = [sampler.space.architecture([op] * len(sampler.space.blocks)) for op in range(4)]
    chosen = dict.fromkeys([*filter(sampler.allows, plain), *spread(sampler, COUNT, recipe.seed)])
    return list(chosen)[:COUNT]


def number_after(option: str) -> int | None:
    """The number that follows an option on the command line."""
    return int(sys.argv[sys.argv.index(option) + 1]) if option in sys.argv else None


def mean_with_interval(values: Sequence[float]) -> dict[str, float]:
    """The mean over seeds or networks, and its 95 % interval by bootstrap."""
    found = np.array(values, np.float64)
    return asdict(with_interval(lambda first, _: float(first.mean()), found, found))
