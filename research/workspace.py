"""What the benches on the search's worth share: recipes, data, folders, supernets, networks trained standalone.

Their work is cut into units, each in a folder of its own under runs/evidence: what is done is not done again, and a
process takes only what no other one is at work on. Start a bench as often as there are cores (`OMP_NUM_THREADS=1`),
kill it whenever you like. What stands in a file of results that was measured in the same way need not be in that
folder. With `--tiny` it is a quick trial, in runs/evidence-tiny with its results.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from detnas.config import Recipe, load_recipe
from detnas.data.shapes.prepare import prepare_shapes
from detnas.run.context import Run, open_run
from detnas.run.pipeline import run
from detnas.run.ranking import POOL, evenly, lock_file, train_standalone
from detnas.rundir.layout import EVALUATION, TRAINING_DONE
from detnas.spaces import Architecture, BudgetSampler
from detnas.utils.files import acquire_lock, read_json
from detnas.utils.progress import Progress

TINY = "--tiny" in sys.argv
RUNS = Path("runs") / ("evidence-tiny" if TINY else "evidence")
RESULTS = RUNS / "results" if TINY else Path(__file__).parent / "results"
BASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "retinanet": ("shapes-quick", ()),
    # A step in less than half the time; candidates are judged on 400 of 680 images.
    "fpn": ("shapes-quick-fpn", ("detector.box_channels=32", "detector.rois=32", "search.images=400")),
}
"""The demo's recipe of each detector, and changes to it alone."""
CHANGES = (
    # With the demo's 1,200 and 4,000 every image is learned by heart, and seeds differ more. Of 1,000 validation
    # images the draw moves the difference of two networks by 0.006 of mAP (halves of them against each other).
    *("data.shapes.train=4000", "data.shapes.crops=20000", "data.shapes.val=1000"),
    # With the demo's 1,000 networks end much alike, and what their seeds have begun with does not: on the batches they
    # train on the ratio of the two in accuracy is 1.9 before a third of them, and 1.1 at the end.
    "pretrain.steps=350",
    # The paper's: with fan_in networks are hardly told apart.
    "init=official",
    "detector.fpn_channels=32",
)
"""To the demo's recipes, for every network."""
TRIAL = (
    *(f"data.shapes.{name}={count}" for name, count in (("train", 60), ("val", 12), ("crops", 60))),
    *("search.evaluations=4", "search.population=2", "search.num_parents=1"),
    *("search.num_mutations=1", "search.num_crossovers=1", "search.images=8", "search.recalibration_batches=2"),
    *(
        f"{stage}.{field}"
        for stage in ("supernet_pretrain", "supernet_finetune", "pretrain", "finetune")
        for field in ("steps=4", "warmup=2")
    ),
)
SEEDS = (0, 1)
"""Of the benchmark and of the supernets."""
Row = dict[str, Any]
COUNT = 4 if TINY else 48
"""Architectures of the benchmark."""
SUPERNET = (
    "supernet_pretrain.steps=1200",
    "supernet_pretrain.lr=8.0e-3",
    "supernet_finetune.lr=4.0e-3",
    "supernet_finetune.steps=1600",
    "supernet_finetune.clip_norm=1",
)
"""To the recipes, for every supernet: the paper's way, at a rate with which it learns in minutes."""
SUPERNETS = {
    "uniform": (),
    "MACs-binned": tuple(f"supernet_{stage}.macs_bins=[32M,35M,38M,41M,44M]" for stage in ("pretrain", "finetune")),
    # As much work as the others: a step trains four paths.
    "strictly fair": tuple(
        change
        for stage, steps in (("pretrain", 300), ("finetune", 400))
        for change in (f"supernet_{stage}.fair_paths=true", f"supernet_{stage}.steps={steps}")
    ),
    "crops": ("pretraining.source=crops",),
    # The time of pre-training goes to detection.
    "scratch": ("pretraining.supernet=false", "supernet_finetune.steps=2300"),
}
"""How a supernet is trained, as further changes to the recipe."""
TRAININGS = ("supernet-pretrain", "supernet-finetune")


def recipe_of(detector: str = "retinanet", seed: int = 0, changes: Sequence[str] = ()) -> Recipe:
    """The recipe of the benches with this detector and seed, and `changes` beside theirs."""
    name, own = BASES[detector]
    return load_recipe(name, [*CHANGES, *own, *changes, *(TRIAL if TINY else ()), f"seed={seed}"])


def data_folder() -> Path:
    """The data set that all runs share, drawn by the first process that needs it."""
    shapes = recipe_of().data.shapes
    assert shapes is not None
    with alone_at("data"):
        prepare_shapes(RUNS / "data", shapes, log=Progress().log)
    return RUNS / "data"


@contextmanager
def alone_at(work: str) -> Iterator[None]:
    """Wait until no other process is at this work; then none will be until the block ends."""
    RUNS.mkdir(parents=True, exist_ok=True)
    with (RUNS / f".{work}.lock").open("w") as held:
        acquire_lock(held)
        yield


def architectures() -> list[Architecture]:
    """Those of the benchmark: the ones of one op throughout that the budget allows, then even over its MACs.

    Each of these is drawn with a mix of ops of its own. Were all ops as likely as one another, nearly all networks
    would be much alike, about a quarter of each op.
    """
    recipe = recipe_of()
    sampler = BudgetSampler(recipe.search_space(), recipe.cost_budget())
    space, rng = sampler.space, np.random.default_rng(recipe.seed)
    plain = [space.architecture([op] * len(space.blocks)) for op in range(len(space.ops))]
    mixes = rng.dirichlet([0.5] * len(space.ops), size=POOL)
    drawn = [space.architecture(rng.choice(len(space.ops), size=len(space.blocks), p=mix).tolist()) for mix in mixes]
    costs = {one: sampler.table.cost(one.ops).macs for one in filter(sampler.allows, drawn)}
    chosen = dict.fromkeys([*filter(sampler.allows, plain), *evenly(costs, COUNT)])
    return list(chosen)[:COUNT]


def alone_folder(detector: str, seed: int) -> Path:
    return RUNS / f"alone-{detector}-seed{seed}"


@contextmanager
def networks_alone(detector: str, seed: int) -> Iterator[Run]:
    """The run in whose folder networks are trained standalone with this detector and seed, by whoever wants them."""
    folder = alone_folder(detector, seed)
    with open_run(recipe_of(detector, seed), folder, data_folder(), Progress(), hold="shared") as run:
        yield run


def trained_alone(run: Run, architecture: Architecture) -> Row:
    """What is known of an architecture, trained standalone in this run unless it has been; waits for who is at it."""
    with lock_file(run, architecture).open("w") as held:
        acquire_lock(held)
        # Which detector comes after it makes no difference.
        source = alone_folder("retinanet", run.recipe.seed)
        take_stage(f"pretrain/{architecture.hyphenated}", source, run.directory)
        train_standalone(run, architecture)
    found = finished(run.directory, architecture)
    assert found is not None
    return found


def finished(run: Path, architecture: Architecture) -> Row | None:
    """What is known of an architecture that has been trained standalone."""
    evaluation = EVALUATION.find(run / "finetune" / architecture.hyphenated)
    if evaluation is None:
        return None
    seconds = {stage: seconds_of(run / stage / architecture.hyphenated) for stage in ("pretrain", "finetune")}
    return {
        "architecture": evaluation.architecture,
        "macs": evaluation.macs,
        "params": evaluation.params,
        **{name: round(evaluation.scores[name] or 0.0, 5) for name in ("mAP", "AP50")},
        "seconds": seconds,
    }


def supernet_folder(kind: str, detector: str, seed: int) -> Path:
    return RUNS / f"supernet-{hyphenated(kind)}-{detector}-seed{seed}"


def supernet_changes(kind: str) -> tuple[str, ...]:
    """How a supernet of this kind is trained, as changes to the recipe beside `CHANGES`."""
    return (*SUPERNET, *SUPERNETS[kind])


def supernet(kind: str, detector: str, seed: int) -> Path:
    """The run directory of a supernet, of `SUPERNETS`, which is trained unless it is; waits for who is at it."""
    folder = supernet_folder(kind, detector, seed)
    with alone_at(folder.name):
        recipe = recipe_of(detector, seed, supernet_changes(kind))
        run(recipe, folder, data_folder(), stages=())
        take_stage("supernet-pretrain", supernet_folder(kind, "retinanet", seed), folder)
        return run(recipe, folder, data_folder(), progress=Progress(), stages=TRAININGS)


def hyphenated(words: str) -> str:
    return words.replace(" ", "-")


def take_stage(stage: str, source: Path, target: Path) -> None:
    """Copy a finished stage of one run directory into another, in one step."""
    if TRAINING_DONE.exists(source / stage) and not TRAINING_DONE.exists(target / stage):
        shutil.rmtree(target / stage, ignore_errors=True)
        (target / stage).parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=RUNS) as aside:
            shutil.copytree(source / stage, Path(aside) / "stage")
            (Path(aside) / "stage").rename(target / stage)


def seconds_of(folder: Path) -> float:
    """What a stage took, given its folder; 0 if it is not done."""
    done = TRAINING_DONE.find(folder)
    return round(done.seconds, 1) if done else 0.0


def recorded(file: Path, **measured: Any) -> Row:
    """What a file of results holds, if it was `measured` in this way; otherwise nothing."""
    found: Row = read_json(file) if file.exists() else {}
    return found if all(found.get(key) == value for key, value in measured.items()) else {}


def number_after(option: str) -> int | None:
    """The number that follows an option on the command line."""
    return int(sys.argv[sys.argv.index(option) + 1]) if option in sys.argv else None
