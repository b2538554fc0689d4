"""Another mobile network, MobileNetV2, is a family, ops and a space: lines in three tables, and no other code."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from small_models import randomize
from small_recipe import assert_same, small_recipe
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.feature_extraction import create_feature_extractor

from detnas.models.backbone import Subnet
from detnas.models.classifier import Classifier
from detnas.models.families import FAMILIES
from detnas.models.families.mobile import Mobile
from detnas.models.ops import OPS, MBConvOp
from detnas.models.ops.layer_style import LayerStyle
from detnas.models.supernet import Supernet
from detnas.spaces import SearchSpace, search_space
from detnas.spaces.named import SPACES

STYLE = LayerStyle(padding="symmetric", bn_eps=1e-5)


@pytest.fixture(autouse=True)
def space(monkeypatch: pytest.MonkeyPatch) -> Iterator[SearchSpace]:
    monkeypatch.setitem(FAMILIES, "mobilenet-v2", Mobile(STYLE))
    for expansion, kernel in ((6, 3), (6, 5), (3, 3)):
        monkeypatch.setitem(OPS, f"inverted{expansion}_k{kernel}", MBConvOp(expansion, kernel, STYLE))
    described = SearchSpace(
        "mobilenet-v2",
        stem=32,
        channels=(24, 32, 64, 96, 160, 320),
        repeats=(2, 3, 4, 3, 3, 1),
        ops=("inverted6_k3", "inverted6_k5", "inverted3_k3", "skip"),
        stage_strides=(2, 2, 2, 1, 2, 1),
        first_block=16,
        family="mobilenet-v2",
    )
    monkeypatch.setitem(SPACES, described.name, described)
    yield described


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    """torchvision's network, with BN statistics that a trained one could have."""
    torch.manual_seed(0)
    network = get_model("mobilenet_v2", weights=None).eval()
    randomize(network, variance=(0.2, 2))
    return network


def with_weights_of(theirs: nn.Module, space: SearchSpace) -> Classifier:
    """Our classifier with their tensors, which come in the same order."""
    classifier = Classifier(Subnet(space, space.uniform("inverted6_k3")), 1000, 1280).eval()
    ours, tensors = classifier.state_dict(), theirs.state_dict().values()
    classifier.load_state_dict(dict(zip(ours, tensors, strict=True)))
    return classifier


def assert_equal(ours: Tensor, expected: Tensor) -> None:
    """Up to rounding."""
    assert ours.shape == expected.shape and expected.std() > 0
    assert (ours - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("size", [(224, 224), (65, 47)])
def test_maps_and_logits_are_torchvisions(size: tuple[int, int], space: SearchSpace, theirs: nn.Module) -> None:
    classifier = with_weights_of(theirs, space)
    layers = [f"features.{index}" for index in (3, 6, 13, 17)]
    features = create_feature_extractor(theirs, layers)
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        expected = features(images)
        for ours, layer in zip(classifier.backbone(images), layers, strict=True):
            assert_equal(ours, expected[layer])
        assert_equal(classifier(images), theirs(images))


def test_its_costs_are_counted(space: SearchSpace, theirs: nn.Module) -> None:
    classifier = with_weights_of(theirs, space)
    assert sum(parameter.numel() for parameter in classifier.parameters()) == 3_504_872  # as torchvision lists
    cost = space.cost(space.uniform("inverted6_k3"))
    head = 320 * 1280 * 7 * 7, 320 * 1280 + 2 * 1280 + 1280 * 1000 + 1000
    assert (round((cost.macs + head[0] + 1280 * 1000) / 1e6), cost.params + head[1]) == (301, 3_504_872)


def test_its_supernet_is_seeded_from_a_trained_network(space: SearchSpace, theirs: nn.Module) -> None:
    native = with_weights_of(theirs, space).backbone
    assert isinstance(native, Subnet)
    supernet = Supernet(space)
    for choice, block, allowed in zip(supernet.choices, native.blocks, space.allowed_ops, strict=True):
        for op in allowed:
            OPS[space.ops[op]].seed(choice.ops[op], block)
    supernet.stem.load_state_dict(native.stem.state_dict())
    assert_same(dict(supernet.subnet(native.architecture).state_dict()), dict(native.state_dict()))
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():  # larger kernels begin as the native ones
        for ours, expected in zip(
            supernet.subnet(space.uniform("inverted6_k5")).eval()(images), native(images), strict=True
        ):
            assert_equal(ours, expected)


def test_recipes_can_name_it(space: SearchSpace) -> None:
    recipe = small_recipe(space={"name": "mobilenet-v2", "width": 0.5}, baselines=["random"])
    assert recipe.search_space() == search_space("mobilenet-v2", 0.5) and recipe.space.ops == space.ops
    drawn = recipe.search_space().draw(np.random.default_rng(0))
    assert Subnet(recipe.search_space(), drawn).strides == [4, 8, 16, 32]
