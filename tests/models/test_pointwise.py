"""1x1 convolutions that are dilated compute what they compute without, and only on one thread they are."""

import copy

import pytest
import torch
from small_recipe import small_recipe
from torch import nn

from detnas.models.backbone import Subnet
from detnas.models.detectors.build import build_detector
from detnas.models.pointwise import dilate_pointwise
from detnas.spaces import Architecture


def model() -> nn.Module:
    recipe = small_recipe()
    torch.manual_seed(0)
    network = Subnet(recipe.search_space(), Architecture.parse("01 23 0123 03"))
    detector: nn.Module = build_detector(network, 3, recipe.detector).train()
    return detector


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    images = torch.rand(2, 3, 48, 64, generator=torch.Generator().manual_seed(1))
    targets = [{"boxes": torch.tensor([[4.0, 6.0, 30.0, 40.0]]), "labels": torch.tensor([1])}] * 2
    torch.manual_seed(2)
    loss = torch.stack([*model(list(images), targets).values()]).sum()
    torch.autograd.backward(loss)
    return {name: one.grad for name, one in model.named_parameters() if one.grad is not None}


def test_gradients_are_the_same() -> None:
    plain = model()
    dilated = copy.deepcopy(plain)
    dilate_pointwise(dilated)
    changed = [one for one in dilated.modules() if isinstance(one, nn.Conv2d) and one.dilation != (1, 1)]
    assert len(changed) > 20 and all(one.kernel_size == (1, 1) for one in changed)
    ours, theirs = gradients(dilated), gradients(plain)
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], rtol=1e-3, atol=1e-4 * float(theirs[name].abs().max() + 1))


def test_with_several_threads_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    unchanged = model()
    dilate_pointwise(unchanged)
    assert all(one.dilation == (1, 1) for one in unchanged.modules() if isinstance(one, nn.Conv2d))
