"""Learning rates against written-out values, and which parameters decay."""

from math import sqrt
from typing import Any

import pytest
import torch
from small_recipe import small_recipe
from torch import nn

from detnas.config import TrainingSettings
from detnas.models.detectors.build import build_detector
from detnas.models.supernet import Supernet
from detnas.training.schedules import build_optimizer, learning_rate, set_learning_rate


def settings(**changes: Any) -> TrainingSettings:
    return TrainingSettings(**{"steps": 4, "batch_size": 1, "lr": 1.0, **changes})


def rates(of: TrainingSettings) -> list[float]:
    return [learning_rate(of, step) for step in range(of.steps)]


def test_linear_falls_to_zero() -> None:
    assert rates(settings(schedule="linear", lr=0.2)) == pytest.approx([0.2, 0.15, 0.1, 0.05])


def test_cosine_falls_to_zero() -> None:
    assert rates(settings(schedule="cosine")) == pytest.approx([1, (1 + sqrt(0.5)) / 2, 0.5, (1 - sqrt(0.5)) / 2])


def test_step_drops_at_two_thirds_and_eight_ninths() -> None:
    assert rates(settings(schedule="step", steps=9)) == pytest.approx([1] * 6 + [0.1] * 2 + [0.01])
    paper = settings(schedule="step", steps=90_000, lr=0.02)
    steps = (59_999, 60_000, 79_999, 80_000, 89_999)
    assert [learning_rate(paper, step) for step in steps] == pytest.approx([0.02, 0.002, 0.002, 0.0002, 0.0002])


def test_step_takes_its_milestones_from_the_recipe() -> None:
    assert rates(settings(schedule="step", milestones=(0.25, 0.5))) == pytest.approx([1, 0.1, 0.01, 0.01])
    assert rates(settings(schedule="step", milestones=())) == [1] * 4


def test_warm_up_rises_from_a_third() -> None:
    assert rates(settings(schedule="step", milestones=(), steps=6, warmup=4)) == pytest.approx(
        [1 / 3, 1 / 2, 2 / 3, 5 / 6, 1, 1]
    )
    assert rates(settings(schedule="linear", steps=5, warmup=2)) == pytest.approx([1 / 3, 0.8 * 2 / 3, 0.6, 0.4, 0.2])


class Mixed(nn.Module):
    """Every kind of parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 2, 1)
        self.batch = nn.BatchNorm2d(2)
        self.group = nn.GroupNorm(1, 2)
        self.linear = nn.Linear(2, 2)

    def ones(self) -> dict[str, float]:
        return {name: parameter.flatten()[0].item() for name, parameter in self.named_parameters()}


def mixed() -> Mixed:
    model = Mixed()
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    return model


BIASES = {"convolution.bias", "batch.bias", "group.bias", "linear.bias"}
NORMS = {"batch.weight", "group.weight"}
WEIGHTS = {"convolution.weight", "linear.weight"}


@pytest.mark.parametrize("decay_norms", [True, False])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_biases_never_decay_and_norms_as_told(optimizer: str, decay_norms: bool) -> None:
    model = mixed()
    told = settings(optimizer=optimizer, weight_decay=0.1, decay_norms=decay_norms)
    chosen = build_optimizer(model, told)
    set_learning_rate(chosen, 0.5)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    chosen.step()
    decayed = WEIGHTS | (NORMS if decay_norms else set())
    assert model.ones() == pytest.approx({name: 0.95 if name in decayed else 1.0 for name in WEIGHTS | NORMS | BIASES})


def test_biases_learn_faster_by_their_factor() -> None:
    model = mixed()
    chosen = build_optimizer(model, settings(weight_decay=0.0, momentum=0.0, bias_lr_factor=2.0))
    for rate, weight, bias in ((0.1, 0.9, 0.8), (0.05, 0.85, 0.7)):
        set_learning_rate(chosen, rate)
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        chosen.step()
        assert model.ones() == pytest.approx({name: bias if name in BIASES else weight for name in model.ones()})


def test_momentum_is_the_recipes() -> None:
    model = mixed()
    chosen = build_optimizer(model, settings(weight_decay=0.0, momentum=0.5))
    set_learning_rate(chosen, 0.1)
    for expected in (0.9, 0.75, 0.575):  # 1, 1.5, 1.75 tenths
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        chosen.step()
        assert model.ones() == pytest.approx(dict.fromkeys(model.ones(), expected))


@pytest.mark.parametrize("detector", ["retinanet", "fpn"])
def test_every_parameter_of_a_detector_is_in_one_group(detector: str) -> None:
    recipe = small_recipe(detector)
    model = build_detector(Supernet(recipe.search_space()), 3, recipe.detector)
    chosen = build_optimizer(model, recipe.finetune)
    grouped = [id(parameter) for group in chosen.param_groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in model.parameters())
    undecayed = {id(p) for group in chosen.param_groups if group["weight_decay"] == 0 for p in group["params"]}
    assert undecayed == {id(p) for name, p in model.named_parameters() if name.endswith(".bias")}


def test_the_backbone_learns_slower_by_its_factor() -> None:
    recipe = small_recipe()
    model = build_detector(Supernet(recipe.search_space()), 3, recipe.detector)
    plain, slow = (
        build_optimizer(model, settings(bias_lr_factor=2.0, backbone_lr_factor=factor)) for factor in (1.0, 0.1)
    )
    assert len(plain.param_groups) == 3
    set_learning_rate(slow, 0.5)
    rates = {id(one): group["lr"] for group in slow.param_groups for one in group["params"]}
    assert len(rates) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        factor = (0.1 if name.startswith("backbone.body.") else 1.0) * (2.0 if name.endswith("bias") else 1.0)
        assert rates[id(parameter)] == pytest.approx(0.5 * factor), name
    # Decay is as without a factor.
    decays = [{id(one): group["weight_decay"] for group in chosen.param_groups for one in group["params"]}
              for chosen in (plain, slow)]  # fmt: skip
    assert decays[0] == decays[1]
