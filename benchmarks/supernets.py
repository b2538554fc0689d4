"""Small trained supernets, of which benchmarks/fitness.py and benchmarks/fitness_knobs.py judge candidates."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from detnas.config import Recipe, load_recipe
from detnas.data.splits import RunData, open_data
from detnas.models.detectors.build import Detector, build_detector
from detnas.models.supernet import Supernet
from detnas.run.pipeline import run
from detnas.rundir.directory import read_stored_run
from detnas.rundir.layout import RECIPE
from detnas.search.evaluators.detection import DetectionEvaluator
from detnas.training.checkpoints import load_weights
from detnas.utils.progress import Progress

TINY = "--tiny" in sys.argv
SHORTER = ("supernet_pretrain.steps=600", "supernet_finetune.steps=700")
TRIAL = (
    *(f"data.shapes.{name}={count}" for name, count in (("train", 60), ("val", 4), ("crops", 40))),
    "search.recalibration_batches=2",
    *(f"supernet_{name}.{field}" for name in ("pretrain", "finetune") for field in ("steps=4", "warmup=2")),
)
PAPER_PROPOSALS = ("detector.rpn_candidates=1000", "detector.proposals=1000")
"""The paper's, where candidates are judged. In training they are the recipe's: it would take hours here."""


@dataclass(frozen=True)
class Case:
    """A supernet by a recipe with `changes`; candidates of it are judged with `judging` changed, too."""

    recipe: str
    changes: tuple[str, ...] = SHORTER
    judging: tuple[str, ...] = ()


CASES = {
    "retinanet": Case("shapes-quick"),
    "fpn": Case("shapes-quick-fpn", (*SHORTER, "detector.box_channels=32"), PAPER_PROPOSALS),
}


@contextmanager
def supernets_folder() -> Iterator[Path]:
    """Where the supernets are trained: what follows `--keep` on the command line, or a temporary folder."""
    if "--keep" in sys.argv:
        yield Path(sys.argv[sys.argv.index("--keep") + 1])
    else:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)


@dataclass(frozen=True)
class Trained:
    """What candidates are judged with."""

    recipe: Recipe
    data: RunData
    supernet: Detector

    def fitness(self, seed: int = 1) -> DetectionEvaluator:
        return DetectionEvaluator(
            self.supernet,
            self.data.fit,
            self.data.search,
            self.recipe.search,
            seed=seed,
            device=torch.device("cpu"),
            cache_mb=self.recipe.data.cache_mb,
        )


def train(kind: str, runs: Path) -> None:
    """Train the supernet of a case in a folder of `runs`, unless one stands there."""
    case = CASES[kind]
    stages = ("supernet-pretrain", "supernet-finetune")
    changes = case.changes + TRIAL if TINY else case.changes
    run(case.recipe, runs / kind, changes=changes, progress=Progress(), stages=stages)


def load(kind: str, runs: Path, *changes: str) -> Trained:
    """The supernet of a case that was trained in `runs`, with `changes` to the recipe beside those of the case."""
    torch.set_flush_denormal(True)
    directory = runs / kind
    recipe = load_recipe(directory / RECIPE, (*CASES[kind].judging, *changes))
    data = open_data(Path(read_stored_run(directory).data_directory), recipe.data, recipe.seed)
    supernet = build_detector(Supernet(recipe.search_space()), len(data.train.categories), recipe.search_detector)
    load_weights(supernet, directory / "supernet-finetune")
    return Trained(recipe, data, supernet)
