"""Backbones outside detnas: under ONNX Runtime, as programs of torch.export, as plain Python."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_mobile
from detecting import ARCHITECTURE, SPACE
from torch import Tensor

from detnas.config import OFFICIAL_INPUT, Preprocessing
from detnas.exporting.backbones import onnx_backbone, python_backbone, torch_program
from detnas.exporting.onnx_model import ABOUT, open_session, read_about
from detnas.exporting.plain_python import definition
from detnas.models.backbone import Subnet
from detnas.models.preprocessing import normalize
from detnas.models.weight_sources.efficientnet_lite import INPUT
from detnas.models.weights import BackboneInfo
from detnas.spaces import Architecture, SearchSpace, search_space
from detnas.spaces.published import PUBLISHED
from detnas.spaces.space import MOBILE_OPS
from detnas.utils.errors import UserError

SHALLOW = SearchSpace("shallow", 4, (8, 16, 24, 32), (1, 1, 1, 1))
SHALLOW_MOBILE = SearchSpace("shallow", 8, (8, 12, 16), (2, 1, 1), MOBILE_OPS, (2, 2, 1), 4, "efficientnet-lite")
SHAPES = [(1, 3, 64, 64), (3, 3, 96, 36), (2, 3, 37, 70), (1, 3, 65, 71)]
"""Of images, with maps of even and odd sides at every stride."""


def backbone(info: BackboneInfo) -> Subnet:
    """In evaluation mode, with BN statistics of its own, in the detectors' memory layout."""
    torch.manual_seed(0)
    network = info.build()
    assert isinstance(network, Subnet)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.1, 1)
        if name.endswith("running_mean"):
            tensor.normal_(std=0.1)
    return network.eval().to(memory_format=torch.channels_last)


INFOS = {
    "ours": BackboneInfo(SPACE, ARCHITECTURE, Preprocessing()),
    "official": BackboneInfo(SPACE, ARCHITECTURE, OFFICIAL_INPUT, "interleave"),
    "mobile": BackboneInfo(toy_mobile.SPACE, toy_mobile.ARCHITECTURE, INPUT),
}


@pytest.fixture(params=INFOS)
def info(request: pytest.FixtureRequest) -> BackboneInfo:
    return INFOS[request.param]


def outside(folder: Path, script: str) -> Any:
    """What a process of Python's gives that can import torch and nothing of ours, nor torchvision, started in `folder`.

    The script sets `maps`, a list of a list of tensors.
    """
    refusing = """
import sys
from importlib.abc import MetaPathFinder

class Refusing(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("detnas", "torchvision"):
            raise ImportError(name)

sys.meta_path.insert(0, Refusing())
import torch
torch.set_num_threads(1)
images = torch.load("images.pt")
"""
    torch.save(images(), folder / "images.pt")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", f"{refusing}\n{script}\ntorch.save(maps, 'maps.pt')"],
        cwd=folder,
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return torch.load(folder / "maps.pt")


def images() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(shape, generator=generator) for shape in SHAPES]


def eager_maps(network: Subnet) -> list[list[Tensor]]:
    with torch.no_grad():
        return [network(one) for one in images()]


def test_onnx_runtime_gives_the_same_maps(info: BackboneInfo) -> None:
    network = backbone(info)
    exported = onnx_backbone(network, info)
    for one, expected in zip(images(), eager_maps(network), strict=True):
        found = exported.maps(one)
        assert [x.shape for x in found] == [x.shape for x in expected]
        assert all((x - y).abs().max() <= 1e-4 * y.abs().max() for x, y in zip(found, expected, strict=True))
    about = read_about(open_session(exported.files[".onnx"]), "it")
    assert about["preprocessing"] == info.preprocessing.model_dump(mode="json")
    assert (about["channels"], about["strides"]) == (network.channels, network.strides)


@pytest.mark.parametrize(
    "info",
    [
        BackboneInfo(SHALLOW, Architecture.parse("3 2 1 0"), OFFICIAL_INPUT, "interleave"),
        BackboneInfo(SHALLOW_MOBILE, Architecture.parse("04 1 2"), INPUT),
    ],
    ids=["paper", "mobile"],
)
def test_a_program_runs_without_detnas(info: BackboneInfo, tmp_path: Path) -> None:
    network = backbone(info)
    program = torch_program(network, info)
    with pytest.raises(UserError, match="no images of 32 x 96 pixels"):
        program.maps(torch.zeros(1, 3, 96, 32))
    (tmp_path / "backbone.pt2").write_bytes(program.files[".pt2"])
    script = f"""
about = {{{ABOUT!r}: ""}}
network = torch.export.load("backbone.pt2", extra_files=about).module()
with torch.no_grad():
    maps = [network(one) for one in images]
torch.save(about, "about.pt")
"""
    found = outside(tmp_path, script)
    for ours, expected in zip(found, eager_maps(network), strict=True):
        assert all(torch.allclose(x, y, rtol=1e-5, atol=1e-6) for x, y in zip(ours, expected, strict=True))
    about = json.loads(torch.load(tmp_path / "about.pt")[ABOUT])
    assert about["architecture"] == str(info.architecture) and about["shuffle"] == info.shuffle


def write_python(network: Subnet, info: BackboneInfo, folder: Path) -> str:
    files = python_backbone(network, info).files
    for suffix, data in files.items():
        (folder / f"mine{suffix}").write_bytes(data)
    return files[".py"].decode()


def test_plain_python_is_the_network_bit_for_bit(info: BackboneInfo, tmp_path: Path) -> None:
    network = backbone(info)
    text = write_python(network, info, tmp_path)
    assert str(info.architecture) in text and "detnas." not in text
    script = """
import mine
network = mine.load()
assert not network.training
with torch.no_grad():
    maps = [network(one) for one in images] + [[mine.normalize(one)] for one in images]
"""
    found = outside(tmp_path, script)
    expected = eager_maps(network) + [[normalize(one, info.preprocessing)] for one in images()]
    for ours, theirs in zip(found, expected, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("name", ["detnas-fpn-300m", "detnas-fpn-1.3g", "efficientnet-lite0"])
def test_plain_python_of_the_published_networks(name: str, tmp_path: Path) -> None:
    published = PUBLISHED[name]
    text = write_python(
        backbone(info := BackboneInfo(published.space, published.architecture, OFFICIAL_INPUT)), info, tmp_path
    )
    assert text.count("Block(stage=") == len(published.space.blocks)
    module: dict[str, Any] = {"__name__": "__main__", "__file__": str(tmp_path / "mine.py")}
    exec(compile(text, "mine.py", "exec"), module)
    assert (
        sum(tensor.numel() for tensor in module["load"]().parameters())
        == published.space.cost(published.architecture).params
    )


@pytest.mark.parametrize(
    ("space", "architecture"),
    [
        (SearchSpace("mixed", 4, (8, 12), (1, 2), ("shuffle3", "skip", "mbconv3_k5")), "0 21"),
        (replace(toy_mobile.SPACE, ops=("mbconv3_k3", "shuffle3")), "01 0 00 00 0"),
    ],
)
def test_plain_python_refuses_the_ops_of_another_family(space: SearchSpace, architecture: str) -> None:
    with pytest.raises(UserError, match=r"this network has (mbconv3_k5|shuffle3); choose torch or onnx-backbone"):
        definition(BackboneInfo(space, Architecture.parse(architecture), Preprocessing()))


def test_plain_python_of_a_paper_network_with_a_block_left_out(tmp_path: Path) -> None:
    info = BackboneInfo(
        SearchSpace("left-out", 4, (8, 12), (1, 2), ("xception", "skip")), Architecture.parse("0 01"), INPUT
    )
    network = backbone(info)
    write_python(network, info, tmp_path)
    found = outside(tmp_path, "import mine\nwith torch.no_grad():\n    maps = [mine.load()(one) for one in images]")
    for ours, expected in zip(found, eager_maps(network), strict=True):
        assert all(torch.equal(x, y) for x, y in zip(ours, expected, strict=True))


def test_training_goes_on_in_plain_python(tmp_path: Path) -> None:
    info = BackboneInfo(search_space("tiny", 0.25), search_space("tiny").uniform("xception"), Preprocessing())
    write_python(backbone(info), info, tmp_path)
    script = """
import mine
network = mine.load().train()
out = network(images[0])
sum(x.square().mean() for x in out).backward()
assert all(p.grad is not None for p in network.parameters())
maps = [out]
"""
    assert len(outside(tmp_path, script)[0]) == 4
