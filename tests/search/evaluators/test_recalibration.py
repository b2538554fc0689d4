"""Recalibration against a naive computation, captured by hooks."""

import copy
from collections import Counter
from typing import Any

import pytest
import torch
from naive_candidate import own_norms
from small_recipe import assert_same, small_recipe
from torch import Tensor, nn

from detnas.models.detectors.build import build_detector
from detnas.models.supernet import Supernet, extract_subnet
from detnas.search.evaluators.recalibration import recalibrate

BATCHES = 3


def candidate(detector: str, **changes: Any) -> nn.Module:
    recipe = small_recipe(detector, **changes)
    torch.manual_seed(0)
    supernet = build_detector(Supernet(recipe.search_space()), 3, recipe.detector)
    for module in supernet.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            module.num_batches_tracked.fill_(7)
    return extract_subnet(supernet, recipe.search_space().architecture([3, 1, 0, 2, 1, 3, 0, 2, 3, 0]))


def batches() -> list[list[Tensor]]:
    """Images of unequal brightness, so that every batch has statistics of its own."""
    generator = torch.Generator().manual_seed(1)
    return [[torch.rand(3, 48, 48, generator=generator) * (1 + b) / BATCHES for _ in range(4)] for b in range(BATCHES)]


def naive_statistics(model: nn.Module) -> dict[str, tuple[Tensor, Tensor, int]]:
    """The plain averages over the batches of each own norm's mean and unbiased variance, and over how many they are.

    A norm in a tower that all pyramid levels share sees one batch a level.
    """
    model = copy.deepcopy(model).eval()
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def watch(name: str) -> Any:
        def hook(module: nn.BatchNorm2d, inputs: tuple[Tensor], output: Tensor) -> None:
            values = inputs[0].double().transpose(0, 1).flatten(1)
            seen.setdefault(name, []).append((values.mean(dim=1), values.var(dim=1, correction=1)))

        return hook

    for name, module in own_norms(model).items():
        module.train()
        module.register_forward_hook(watch(name))
    with torch.no_grad():
        for images in batches():
            model(images)
    return {
        name: (
            torch.stack([mean for mean, _ in rows]).mean(dim=0),
            torch.stack([var for _, var in rows]).mean(dim=0),
            len(rows),
        )
        for name, rows in seen.items()
    }


@pytest.mark.parametrize("detector", ["retinanet", "fpn"])
def test_statistics_are_averages_of_batch_means_and_unbiased_variances(detector: str) -> None:
    model = candidate(detector)
    expected = naive_statistics(model)
    recalibrate(model, batches())
    norms = own_norms(model)
    # Those of the backbone, of the pyramid and of a RetinaNet's head; every one of them has run.
    assert norms.keys() == expected.keys()
    assert {name.split(".")[0] for name in norms} == ({"backbone", "head"} if detector == "retinanet" else {"backbone"})
    assert any(name.startswith("backbone.pyramid") for name in norms)
    for name, norm in norms.items():
        mean, var, count = expected[name]
        assert torch.allclose(norm.running_mean.double(), mean, rtol=1e-4, atol=1e-6), name
        assert torch.allclose(norm.running_var.double(), var, rtol=1e-4, atol=1e-7), name
        assert int(norm.num_batches_tracked) == count >= BATCHES


def test_norms_behind_roi_pooling_keep_the_statistics_of_the_training() -> None:
    model = candidate("fpn")
    inherited = copy.deepcopy(dict(model.roi_heads.state_dict()))
    assert inherited["box_head.0.1.num_batches_tracked"] == 7
    recalibrate(model, batches())
    assert_same(dict(model.roi_heads.state_dict()), inherited)


def test_statistics_do_not_depend_on_how_many_proposals_there_are() -> None:
    few, many = (candidate("fpn", detector__proposals=count) for count in (2, 40))
    recalibrate(few, batches())
    recalibrate(many, batches())
    assert_same(dict(few.state_dict()), dict(many.state_dict()))


KINDS = [("retinanet", "batch"), ("retinanet", "group"), ("fpn", "batch"), ("fpn", "none")]


@pytest.mark.parametrize(("detector", "norm"), KINDS)
def test_statistics_are_those_of_whole_passes_bit_for_bit(detector: str, norm: str) -> None:
    model, whole = (candidate(detector, detector__norm=norm) for _ in range(2))
    recalibrate(model, batches())
    whole.eval()
    for module in own_norms(whole).values():
        module.train().reset_running_stats()
        module.momentum = None
    with torch.no_grad():
        for images in batches():
            whole(images)
    assert_same(dict(model.state_dict()), dict(whole.state_dict()))


@pytest.mark.parametrize(("detector", "norm"), KINDS)
def test_only_the_first_pass_goes_beyond_the_last_norm(detector: str, norm: str) -> None:
    model = candidate(detector, detector__norm=norm)
    ran: Counter[str] = Counter()
    for name, module in model.named_modules():
        module.register_forward_hook(lambda *_, name=name: ran.update([name]))
    recalibrate(model, batches())
    assert all(ran[name] >= BATCHES for name in own_norms(model))
    assert ran[""] == (detector == "retinanet")  # the whole model came to its end
    assert ran["roi_heads.box_head"] == 0
    if (detector, norm) == ("fpn", "batch"):
        assert ran["backbone.body"] == BATCHES and ran["backbone"] == ran["rpn"] == 1
    elif norm == "batch":
        assert ran["head.classification_head"] == BATCHES and ran["head.regression_head"] == 1
    else:
        assert ran["backbone.body.stem"] == BATCHES and ran["backbone.body"] == ran["backbone.pyramid"] == 1


@pytest.mark.parametrize("detector", ["retinanet", "fpn"])
def test_a_model_runs_whole_passes_again_afterwards(detector: str) -> None:
    def hooks() -> list[object]:
        return [hook for module in model.modules() for hook in (*module._forward_hooks, *module._forward_pre_hooks)]

    model = candidate(detector)
    before = hooks()
    recalibrate(model, batches())
    with torch.no_grad():
        assert all(len(model(images)) == 4 for images in batches())
    assert hooks() == before


@pytest.mark.parametrize("detector", ["retinanet", "fpn"])
def test_nothing_but_the_statistics_changes(detector: str) -> None:
    model = candidate(detector)
    before = copy.deepcopy(model)
    random_state = torch.get_rng_state()
    recalibrate(model, batches())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert_same({name: p.data for name, p in model.named_parameters()}, dict(before.named_parameters()))
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    changed = {
        name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before.state_dict()[name])
    }
    assert changed and all(name.endswith(statistics) for name in changed)
    for module, other in zip(model.modules(), before.modules(), strict=True):
        assert not module.training
        if isinstance(module, nn.BatchNorm2d):
            assert module.momentum == other.momentum == 0.1
    assert all(parameter.grad is None for parameter in model.parameters())


def test_earlier_statistics_do_not_matter_and_twice_is_once() -> None:
    model, other = candidate("retinanet"), candidate("retinanet")
    for module in other.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.running_mean, 50)
            nn.init.constant_(module.running_var, 0.01)
    recalibrate(model, batches())
    recalibrate(other, batches())
    assert_same(dict(model.state_dict()), dict(other.state_dict()))
    recalibrate(model, batches())
    assert_same(dict(model.state_dict()), dict(other.state_dict()))


def test_a_detector_whose_heads_have_no_batch_norm_is_recalibrated_too() -> None:
    model = candidate("retinanet", detector__norm="group")
    expected = naive_statistics(model)
    recalibrate(model, batches())
    assert expected and all(name.startswith("backbone.body") for name in expected)
    for name, (mean, _, count) in expected.items():
        norm = model.get_submodule(name)
        assert torch.allclose(norm.running_mean.double(), mean, rtol=1e-4, atol=1e-6) and count == BATCHES
