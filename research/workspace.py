"""What the experiments on the search's worth have in common: recipes, data, folders, supernets and standalone networks.

Their work is cut into units, each in a folder of its own under runs/research: what is done is not done again, and a
process takes only units that no other process works on. Start an experiment as often as there are cores
(`OMP_NUM_THREADS=1`), and stop it at any time. Units that a file of results already holds, measured in the same way,
need not be in that folder.
"""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from detnas.config import Recipe, load_recipe
from detnas.data.shapes.write import prepare_shapes
from detnas.run.context import Run
from detnas.run.networks import train_standalone
from detnas.run.opening import open_run
from detnas.run.pipeline import run
from detnas.run.ranking import POOL, evenly
from detnas.rundir import layout
from detnas.spaces import Architecture, BudgetSampler
from detnas.utils.files import acquire_lock, open_lock_file, read_json
from detnas.utils.progress import Progress

RESULTS = Path(__file__).parent / "results"
BASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "retinanet": ("shapes-quick", ()),
    # A step takes less than half the time; candidates are evaluated on 400 of 680 images.
    "fpn": ("shapes-quick-fpn", ("detector.box_channels=32", "detector.rois=32", "search.images=400")),
}
"""The demo's recipe of each detector, and changes to it."""
CHANGES = (
    # With the demo's 1,200 and 4,000 every image is learned by heart, and seeds differ more. Of 1,000 validation
    # images the draw moves the difference of two networks by 0.006 of mAP (halves of them against each other).
    *("data.shapes.train=4000", "data.shapes.crops=20000", "data.shapes.val=1000"),
    # With the demo's 1,000 networks end much alike, and the differences between their seeds remain: in accuracy on the
    # batches they train on the ratio of the two is 1.9 before a third of the steps, and 1.1 at the end.
    "pretrain.steps=350",
    # The paper's: with fan_in networks hardly differ.
    "init=official",
    "detector.fpn_channels=32",
)
"""Changes to the demo's recipes for every network."""
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
"""Of the benchmark's networks and of the supernets that rank them."""
Row = dict[str, Any]
SUPERNET = (
    "supernet_pretrain.steps=1200",
    "supernet_pretrain.lr=8.0e-3",
    "supernet_finetune.lr=4.0e-3",
    "supernet_finetune.steps=1600",
    "supernet_finetune.clip_norm=1",
)
"""Changes to the recipes for every supernet: the paper's way, at a rate with which it learns in minutes."""
SUPERNETS = {
    "uniform": (),
    "MACs-binned": tuple(f"supernet_{stage}.macs_bins=[32M,35M,38M,41M,44M]" for stage in ("pretrain", "finetune")),
    # As much work as the others: a step trains four paths.
    "strictly fair": tuple(
        change
        for stage, steps in (("pretrain", 300), ("finetune", 400))
        for change in (f"supernet_{stage}.paths=fair", f"supernet_{stage}.steps={steps}")
    ),
    "crops": ("pretraining.source=crops",),
    # The time of pre-training goes to detection.
    "scratch": ("pretraining.supernet=false", "supernet_finetune.steps=2300"),
}
"""The kinds of supernets, and the further changes with which each is trained."""
TRAININGS = (layout.SUPERNET_PRETRAIN, layout.SUPERNET_FINETUNE)
Tiny = Annotated[bool, typer.Option("--tiny", help="A quick trial, in runs/research-tiny with its results.")]
Summary = Annotated[bool, typer.Option("--summary", help="Measure nothing; only summarize what has been measured.")]


@dataclass(frozen=True)
class Workspace:
    """The folder in which experiments work, at full size or as a quick trial."""

    tiny: bool = False

    @property
    def runs(self) -> Path:
        return Path("runs") / ("research-tiny" if self.tiny else "research")

    def results(self, name: str) -> Path:
        """The file of an experiment's results."""
        return (self.runs / "results" if self.tiny else RESULTS) / f"{name}.json"

    def recipe(self, detector: str = "retinanet", seed: int = 0, changes: Sequence[str] = ()) -> Recipe:
        """The experiments' recipe with this detector and seed, and `changes` beside theirs."""
        name, of_the_detector = BASES[detector]
        trial = TRIAL if self.tiny else ()
        return load_recipe(name, [*CHANGES, *of_the_detector, *changes, *trial, f"seed={seed}"])

    def data(self) -> Path:
        """The data set that all runs share, drawn by the first process that needs it."""
        shapes = self.recipe().data.shapes
        assert shapes is not None
        with self.lock("data"):
            prepare_shapes(self.runs / "data", shapes, log=Progress().log)
        return self.runs / "data"

    @contextmanager
    def lock(self, work: str) -> Iterator[None]:
        """Wait until no other process does this work, and keep others from it until the block ends."""
        with open_lock_file(self.runs / f".{work}.lock") as file:
            acquire_lock(file, Progress().log)
            yield

    def architectures(self) -> list[Architecture]:
        """The benchmark's: those of one op throughout that the budget allows, then others evenly over its MACs.

        Each of these is drawn with a random mix of ops. Were all ops equally likely, nearly all networks would be much
        alike, about a quarter of each op.
        """
        recipe, count = self.recipe(), 4 if self.tiny else 48
        sampler = BudgetSampler(recipe.search_space(), recipe.cost_budget())
        space, rng = sampler.space, np.random.default_rng(recipe.seed)
        uniform = [space.architecture([op] * len(space.blocks)) for op in range(len(space.ops))]
        mixes = rng.dirichlet([0.5] * len(space.ops), size=POOL)
        choices = [rng.choice(len(space.ops), size=len(space.blocks), p=mix).tolist() for mix in mixes]
        drawn = [space.architecture(ops) for ops in choices]
        costs = {one: sampler.cost(one).macs for one in filter(sampler.allows, drawn)}
        return list(dict.fromkeys([*filter(sampler.allows, uniform), *evenly(costs, count)]))[:count]

    def standalone_folder(self, detector: str, seed: int) -> Path:
        return self.runs / f"standalone-{detector}-seed{seed}"

    def open_standalone(self, detector: str, seed: int) -> AbstractContextManager[Run]:
        """The run in whose folder networks are trained standalone with this detector and seed, by several processes."""
        folder = self.standalone_folder(detector, seed)
        return open_run(self.recipe(detector, seed), folder, self.data(), Progress(), hold="shared")

    def train_standalone(self, opened: Run, architecture: Architecture) -> Row:
        """Train an architecture standalone in this run unless that is done, and return its results."""
        with open_lock_file(layout.network_lock(opened.directory, architecture.hyphenated)) as file:
            acquire_lock(file, Progress().log)
            # Pre-training does not depend on the detector.
            source = self.standalone_folder("retinanet", opened.recipe.seed)
            self.take_stage(f"pretrain/{architecture.hyphenated}", source, opened.directory)
            train_standalone(opened, architecture)
        found = standalone_results(opened.directory, architecture)
        assert found is not None
        return found

    def supernet_folder(self, kind: str, detector: str, seed: int) -> Path:
        return self.runs / f"supernet-{hyphenated(kind)}-{detector}-seed{seed}"

    def supernet(self, kind: str, detector: str, seed: int) -> Path:
        """The run directory of a supernet of `SUPERNETS`, which is trained unless that is done."""
        folder = self.supernet_folder(kind, detector, seed)
        with self.lock(folder.name):
            recipe = self.recipe(detector, seed, supernet_changes(kind))
            run(recipe, folder, self.data(), stages=())
            self.take_stage(layout.SUPERNET_PRETRAIN, self.supernet_folder(kind, "retinanet", seed), folder)
            return run(recipe, folder, self.data(), progress=Progress(), stages=TRAININGS)

    def take_stage(self, stage: str, source: Path, target: Path) -> None:
        """Copy a finished stage of one run directory into another, unless it is there; never a part of it."""
        if layout.TRAINING_DONE.exists(source / stage) and not layout.TRAINING_DONE.exists(target / stage):
            shutil.rmtree(target / stage, ignore_errors=True)
            (target / stage).parent.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.runs) as temporary:
                shutil.copytree(source / stage, Path(temporary) / "stage")
                (Path(temporary) / "stage").rename(target / stage)


def standalone_results(folder: Path, architecture: Architecture) -> Row | None:
    """The results of an architecture that has been trained standalone in a run directory."""
    evaluation = layout.EVALUATION.find(folder / layout.FINETUNE / architecture.hyphenated)
    if evaluation is None:
        return None
    stages = (layout.PRETRAIN, layout.FINETUNE)
    return {
        "architecture": evaluation.architecture,
        "macs": evaluation.macs,
        "params": evaluation.params,
        **{name: round(evaluation.scores[name] or 0.0, 5) for name in ("mAP", "AP50")},
        "seconds": {stage: seconds_of(folder / stage / architecture.hyphenated) for stage in stages},
    }


def supernet_changes(kind: str) -> tuple[str, ...]:
    """The changes with which a supernet of this kind is trained, beside `CHANGES`."""
    return (*SUPERNET, *SUPERNETS[kind])


def hyphenated(words: str) -> str:
    return words.replace(" ", "-")


def seconds_of(folder: Path) -> float:
    """The seconds that a stage took, given its folder; 0 if it is not done."""
    done = layout.SEARCH_DONE.find(folder) if folder.name == layout.SEARCH else layout.TRAINING_DONE.find(folder)
    return round(done.seconds, 1) if done else 0.0


def recorded(file: Path, **measured: Any) -> Row:
    """What a file of results holds, if it was `measured` in this way; otherwise nothing."""
    found: Row = read_json(file) if file.exists() else {}
    return found if all(found.get(key) == value for key, value in measured.items()) else {}


def load_changed(name: str, changes: Sequence[str], tiny: bool) -> Recipe:
    """A recipe for images of others, with changes, and with those of a quick trial if it is `tiny`."""
    if not tiny:
        return load_recipe(name, changes)
    left_out = ("data.shapes",) if load_recipe(name).pretrains else ("data.shapes", "supernet_pretrain", "pretrain")
    return load_recipe(name, [*changes, *(one for one in TRIAL if not one.startswith(left_out))])
