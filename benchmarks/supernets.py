"""Small trained supernets, whose candidates other benchmarks evaluate."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from detnas.config import Recipe, load_recipe
from detnas.data.run_data import stored_data
from detnas.data.splits import RunData, open_data
from detnas.models.detectors.build import Detector, build_detector
from detnas.models.supernet import Supernet
from detnas.run.pipeline import run
from detnas.rundir.directory import read_stored_run
from detnas.rundir.layout import RECIPE, SUPERNET_FINETUNE, SUPERNET_PRETRAIN
from detnas.search.evaluators.detection import DetectionEvaluator
from detnas.spaces import Architecture, BudgetSampler
from detnas.training.checkpoints import load_weights
from detnas.utils.progress import Progress

CPU = torch.device("cpu")
SHORTER = ("supernet_pretrain.steps=600", "supernet_finetune.steps=700")
TRIAL = (
    *(f"data.shapes.{name}={count}" for name, count in (("train", 60), ("val", 4), ("crops", 40))),
    "search.recalibration_batches=2",
    *(f"supernet_{name}.{field}" for name in ("pretrain", "finetune") for field in ("steps=4", "warmup=2")),
)
PAPER_PROPOSALS = ("detector.rpn_candidates=1000", "detector.proposals=1000")
"""The paper's numbers, for evaluation only: a training with so many proposals would take hours on a CPU."""


@dataclass(frozen=True)
class Case:
    """A recipe with changes: those for the supernet's training, and further ones for the evaluation of candidates."""

    recipe: str
    changes: tuple[str, ...] = SHORTER
    evaluation: tuple[str, ...] = ()


CASES = {
    "retinanet": Case("shapes-quick"),
    "fpn": Case("shapes-quick-fpn", (*SHORTER, "detector.box_channels=32"), PAPER_PROPOSALS),
}


@contextmanager
def supernets_folder(keep: Path | None) -> Iterator[Path]:
    """Where the supernets are trained: the folder to keep, or a temporary one."""
    with tempfile.TemporaryDirectory() as temporary:
        yield keep or Path(temporary)


@dataclass(frozen=True)
class Trained:
    """A trained supernet, and what its candidates are evaluated with."""

    recipe: Recipe
    data: RunData
    supernet: Detector

    @property
    def sampler(self) -> BudgetSampler:
        return BudgetSampler(self.recipe.search_space(), self.recipe.cost_budget())

    def draw(self, count: int) -> list[Architecture]:
        """Random candidates within the budget, always the same ones."""
        sampler, rng = self.sampler, np.random.default_rng(0)
        return [architecture for _ in range(count) if (architecture := sampler.sample(rng)) is not None]

    def evaluator(self, seed: int = 1, device: torch.device = CPU) -> DetectionEvaluator:
        supernet, data, recipe = self.supernet.to(device), self.data, self.recipe
        return DetectionEvaluator(
            supernet, data.fit, data.search, recipe.search, seed=seed, device=device, cache_mb=recipe.data.cache_mb
        )


def train(kind: str, runs: Path, tiny: bool) -> None:
    """Train the supernet of a case in a folder of `runs`, unless it is there."""
    case = CASES[kind]
    changes = case.changes + TRIAL if tiny else case.changes
    run(case.recipe, runs / kind, changes=changes, progress=Progress(), stages=(SUPERNET_PRETRAIN, SUPERNET_FINETUNE))


def load(kind: str, runs: Path, *changes: str) -> Trained:
    """The supernet of a case that was trained in `runs`, with `changes` to the recipe beside those of the case."""
    torch.set_flush_denormal(True)
    directory = runs / kind
    recipe = load_recipe(directory / RECIPE, (*CASES[kind].evaluation, *changes))
    data = open_data(stored_data(directory, read_stored_run(directory)), recipe.data, recipe.seed)
    supernet = build_detector(Supernet(recipe.search_space()), len(data.train.categories), recipe.search_detector)
    load_weights(supernet, directory / SUPERNET_FINETUNE)
    return Trained(recipe, data, supernet)
