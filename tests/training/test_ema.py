"""Averaged weights, against a naive average over the checkpoints of every step."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from small_recipe import assert_same, checkpoint, small_recipe, training
from small_training import Task, settings, train_linear
from torch import nn

import detnas.training.loop as loop
from detnas.models.backbone import Subnet
from detnas.models.classifier import Classifier
from detnas.models.supernet import Supernet
from detnas.models.weights import load_detector
from detnas.run.pipeline import run
from detnas.training.checkpoints import load_weights
from detnas.training.ema import WeightEMA
from detnas.training.state import TrainingState


def decay_of(update: int, decay: float) -> float:
    """What an update (from 0) keeps of the average."""
    return min(decay, update / (update + 9))


class Watched:
    """Remembers the weights after each step, and what had a gradient in it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[tuple[dict[str, torch.Tensor], set[str]]] = []
        step = loop.train_step

        def watched(state: TrainingState, *rest: Any) -> dict[str, float]:
            figures = step(state, *rest)
            trained = {name for name, p in state.model.named_parameters() if p.grad is not None}
            # The statistics of a BN layer are trained where its scale is.
            for name, module in state.model.named_modules():
                if isinstance(module, nn.BatchNorm2d) and f"{name}.weight" in trained:
                    trained |= {f"{name}.running_mean", f"{name}.running_var"}
            self.steps.append((copy.deepcopy(state.model.state_dict()), trained))
            return figures

        monkeypatch.setattr(loop, "train_step", watched)

    def average(self, decay: float) -> dict[str, torch.Tensor]:
        last = self.steps[-1][0]
        averages = {}
        for name, tensor in last.items():
            values = [weights[name].double() for weights, trained in self.steps if name in trained]
            if not values:
                averages[name] = tensor
                continue
            average = torch.zeros_like(values[0])
            for update, value in enumerate(values):
                kept = decay_of(update, decay)
                average = kept * average + (1 - kept) * value
            averages[name] = average.to(tensor.dtype)
        return averages


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("decay", [0.3, 0.9])
def test_a_linear_layers_average_is_the_naive_one(
    decay: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)
    model = train_linear(tmp_path, Task(), ema_decay=decay)
    expected = watched.average(decay)
    assert_close(dict(model.state_dict()), expected)
    assert not torch.allclose(expected["weight"], watched.steps[-1][0]["weight"])
    # What a finished training loads, and what later stages do.
    for other in (train_linear(tmp_path, Task(), ema_decay=decay), nn.Linear(2, 2)):
        load_weights(other, tmp_path)
        assert_same(dict(other.state_dict()), dict(model.state_dict()))
    assert_same(checkpoint(tmp_path)["model"], watched.steps[-1][0])  # from which a training goes on


@pytest.mark.parametrize("fair", [False, True])
def test_an_op_is_averaged_over_the_steps_that_trained_it(
    fair: bool, blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)
    recipe = small_recipe(supernet_pretrain__ema_decay=0.8, supernet_pretrain__paths="fair" if fair else "space")
    run(recipe, tmp_path / "run", blocks, stages=("supernet-pretrain",))
    directory = tmp_path / "run" / "supernet-pretrain"
    saved = checkpoint(directory)
    assert_close(saved["ema"]["weights"], watched.average(0.8))
    # Some op has been trained in some steps only.
    counts = {count for name, count in saved["ema"]["updates"].items() if ".ops.1." in name}
    assert counts == {20} if fair else len(counts) > 1 and max(counts) < 20
    classifier = Classifier(Supernet(recipe.search_space()), 4, 16)
    load_weights(classifier, directory)
    assert_same(dict(classifier.state_dict()), saved["ema"]["weights"])


def test_what_a_run_leaves_is_the_average(blocks: Path, tmp_path: Path) -> None:
    few = {"steps": 4, "warmup": 0}
    recipe = small_recipe(
        pretraining__source="none",
        supernet_finetune=training(**few),
        search__evaluations=1,
        finetune=training(**few, ema_decay=0.9),
        baselines=[],
    )
    directory = run(recipe, tmp_path / "run", blocks)
    saved = checkpoint(directory / "finetune" / "winner")
    detector, _ = load_detector(directory / "detector.safetensors")
    assert_same(dict(detector.state_dict()), saved["ema"]["weights"])
    assert not torch.equal(saved["ema"]["weights"]["backbone.body.stem.0.weight"],
                           saved["model"]["backbone.body.stem.0.weight"])  # fmt: skip


def test_the_state_goes_through_a_checkpoint() -> None:
    recipe = small_recipe()
    torch.manual_seed(0)
    models = [Classifier(Subnet(recipe.search_space(), recipe.search_space().uniform("shuffle3")), 4, 16)] * 2
    one, other = (WeightEMA(model, 0.9) for model in models)
    for parameter in models[0].parameters():
        parameter.grad = torch.zeros_like(parameter)
    one.update()
    one.update()
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    one.update()
    other.update()
    assert_same(one.state_dict(), other.state_dict())
    assert settings().ema_decay is None
