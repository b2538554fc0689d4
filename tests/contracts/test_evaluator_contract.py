"""What every evaluator keeps to; a new line in the table `EVALUATORS` inherits these tests."""

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_recipe import assert_same, small_recipe
from torch import nn

from detnas.config import SearchSettings
from detnas.config.search import CUSTOM
from detnas.models.classifier import Classifier
from detnas.models.detectors.build import Detector
from detnas.models.supernet import Supernet
from detnas.run.context import Run
from detnas.run.evaluator import build_evaluator
from detnas.run.opening import open_run
from detnas.run.pipeline import run
from detnas.search.evaluators import EVALUATORS
from detnas.search.evaluators.base import EvaluatorSpec
from detnas.search.evaluators.custom import Candidate
from detnas.search.evaluators.distributed import DistributedEvaluator
from detnas.spaces import Architecture
from detnas.utils.progress import Progress

TOY = EvaluatorSpec("toy_evaluator:WeightEvaluator", "detection", "weight")
NAMES = [*EVALUATORS, "toy"]
ARCHITECTURES = [Architecture.parse(text) for text in ("00 00 0000 00", "31 20 1320 13", "23 33 0132 31")]


def half_of_ap50(candidate: Candidate) -> float:
    """A custom fitness, which does to its candidate what it likes."""
    score = candidate.evaluation.scores["AP50"] or 0.0
    for tensor in candidate.detector.parameters():
        tensor.data.zero_()
    return score / 2 + candidate.cost.macs / 1e12


class KeepingRun(Run):
    """Keeps the supernets that evaluators are built on."""

    def supernet_detector(self) -> Detector:
        self.supernets.append(super().supernet_detector())
        return self.supernets[-1]

    def supernet_classifier(self) -> Classifier:
        self.supernets.append(super().supernet_classifier())
        return self.supernets[-1]

    @property
    def supernets(self) -> list[Any]:
        return self.__dict__.setdefault("_supernets", [])  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EVALUATORS, "toy", TOY)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, blocks: Path) -> Iterator[Run]:
    """A run whose supernet has learned classification and then detection."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    recipe = small_recipe()
    run(recipe, folder, blocks, stages=("supernet-pretrain", "supernet-finetune"))
    with open_run(recipe, folder, blocks, Progress(quiet=True)) as opened:
        yield opened


@pytest.fixture(params=NAMES)
def searched(request: pytest.FixtureRequest, trained: Run) -> KeepingRun:
    """The run, as if its recipe named the evaluator."""
    fitness = "test_evaluator_contract:half_of_ap50" if request.param == CUSTOM else request.param
    search = SearchSettings.model_validate(trained.recipe.search.model_dump() | {"fitness": fitness})
    assert search.evaluator is EVALUATORS[request.param]
    recipe = trained.recipe.model_copy(update={"search": search})
    facts = (trained.directory, trained.data, trained.sampler, trained.device, trained.progress)
    return KeepingRun(recipe, *facts)


def test_it_scores_the_supernet_of_its_task_and_names_its_score(searched: KeepingRun) -> None:
    evaluator = build_evaluator(searched)
    (supernet,) = searched.supernets
    assert isinstance(supernet, Classifier) == (searched.recipe.search.evaluator.task == "classification")
    assert searched.trained_supernet == f"supernet-{'pretrain' if isinstance(supernet, Classifier) else 'finetune'}"
    scores = evaluator(ARCHITECTURES[0])
    fitness = scores[searched.recipe.search.score_name]
    assert isinstance(fitness, float)
    assert all(score is None or math.isfinite(score) for score in scores.values())


def test_scores_are_the_same_whenever_they_are_asked_for(searched: KeepingRun) -> None:
    """In another order, by an evaluator built again, with other random numbers, and wrapped for several processes."""
    evaluator = build_evaluator(searched)
    first = {architecture: evaluator(architecture) for architecture in ARCHITECTURES}
    torch.manual_seed(5)
    again = DistributedEvaluator(build_evaluator(searched))
    assert {architecture: again(architecture) for architecture in reversed(ARCHITECTURES)} == first
    assert evaluator(ARCHITECTURES[0]) == first[ARCHITECTURES[0]]


def test_the_supernet_is_the_same_bit_by_bit_afterwards(searched: KeepingRun) -> None:
    evaluator = build_evaluator(searched)
    (model,) = searched.supernets
    model.train()
    (supernet,) = (module for module in model.modules() if isinstance(module, Supernet))
    supernet.activate(ARCHITECTURES[1])
    before = copy.deepcopy(dict(model.state_dict()))
    momenta = [module.momentum for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    modes = [module.training for module in model.modules()]
    for architecture in ARCHITECTURES:
        evaluator(architecture)
    assert_same(dict(model.state_dict()), before)
    assert [module.training for module in model.modules()] == modes
    assert [module.momentum for module in model.modules() if isinstance(module, nn.BatchNorm2d)] == momenta
    assert [block.active for block in supernet.choices] == list(ARCHITECTURES[1].ops)


def test_what_cannot_be_evaluated_is_refused_before_any_training(searched: KeepingRun) -> None:
    """Which passes here, and takes no weights."""
    untrained = replace(searched, directory=Path("nowhere"))
    untrained.recipe.search.evaluator.load().check(untrained)
    assert not untrained.supernets
