"""Learned weights that are no supernet's, no network's of the family, or no file's: refused in one line."""

import os
import sys
import types
from collections.abc import Callable
from pathlib import Path

import official_reference as reference
import pytest
import torch
from safetensors.torch import save_file
from small_models import ARCHITECTURES
from small_models import SPACE as TOY

from detnas.config import Preprocessing
from detnas.models.backbone import Subnet
from detnas.models.ops.custom import CustomOp
from detnas.models.supernet import Supernet
from detnas.models.weight_sources.reading import REMEDY, read_weights
from detnas.models.weights import BackboneInfo, save_backbone
from detnas.spaces import SearchSpace
from detnas.utils.errors import UserError

OFFICIAL = SearchSpace("official", reference.STEM, reference.CHANNELS, reference.REPEATS)


def refused(where: Path, space: SearchSpace = TOY) -> str:
    with pytest.raises(UserError) as refusal:
        read_weights(str(where), space)
    message = str(refusal.value)
    assert "\n" not in message and str(where) in message
    return message


def test_a_missing_file_is_refused_with_all_that_there_could_be(tmp_path: Path) -> None:
    for where in (tmp_path / "none.pth", tmp_path / "efficientnet-lite7"):
        expected = f"pretraining.weights {where}: cannot be read (No such file or directory); {REMEDY}"
        assert refused(where) == expected
    os.mkfifo(tmp_path / "pipe.pth")
    assert refused(tmp_path / "pipe.pth") == (
        f"pretraining.weights {tmp_path / 'pipe.pth'}: cannot be read (not a regular file); {REMEDY}"
    )


def write_single(file: Path) -> None:
    save_backbone(file, Subnet(TOY, ARCHITECTURES[0]), BackboneInfo(TOY, ARCHITECTURES[0], Preprocessing()))


def write_single_official(file: Path) -> None:
    tensors = reference.Tensors()
    reference.backbone(tensors, torch.rand(1, 3, 64, 64, dtype=torch.float64), [0] * 8, "even_odd", "", False)
    torch.save({"state_dict": dict(tensors)}, file)


FILES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a single network": ("single.safetensors", write_single, f": holds a single network; {REMEDY}"),
    "an official single network": ("single.pkl", write_single_official, f": holds a single network; {REMEDY}"),
    "another network": (
        "resnet.pth",
        lambda file: torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, file),
        f": holds no weights of a kind that is known; {REMEDY}",
    ),
    "another network in safetensors": (
        "resnet.safetensors",
        lambda file: save_file({"conv1.weight": torch.zeros(64, 3, 7, 7)}, file),
        f": holds no weights of a kind that is known; {REMEDY}",
    ),
    "text": ("text.pth", lambda file: file.write_text("hello"), ": no PyTorch checkpoint, or a pickle of more than"),
    "text for tensors": ("text.safetensors", lambda file: file.write_text("hello"), ": cannot be read (it is no safe"),
    "nothing": ("empty.pth", lambda file: torch.save({}, file), ": holds no state dict; give a checkpoint that holds"),
}


@pytest.mark.parametrize("kind", FILES)
def test_files_of_other_things_are_refused(kind: str, tmp_path: Path) -> None:
    name, write, said = FILES[kind]
    write(tmp_path / name)
    assert f"{tmp_path / name}{said}" in refused(tmp_path / name, OFFICIAL)


class Op(CustomOp):
    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(in_channels, out_channels, 1, stride)


def test_custom_ops_are_imported_where_the_recipe_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("reading_ops")
    module.Op = Op  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "reading_ops", module)
    space = SearchSpace("own", 4, (8, 16), (1, 1), ("shuffle3", "reading_ops:Op"))
    file = tmp_path / "own.safetensors"
    supernet = Supernet(space)
    save_backbone(file, supernet, BackboneInfo(space, None, Preprocessing()))
    filled = Supernet(space)
    read_weights(str(file), space).fill(filled)
    assert torch.equal(filled.choices[0].ops[1].layer.weight, supernet.choices[0].ops[1].layer.weight)
    assert "has ops that are not detnas's (reading_ops:Op), which would be imported" in refused(file)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "supernet.safetensors"
    save_backbone(file, Supernet(TOY), BackboneInfo(TOY, None, Preprocessing()))
    read_weights(str(file), TOY)
    data = bytearray(file.read_bytes())
    data[-9] ^= 1
    file.write_bytes(data)
    assert "cannot be read (its content is not what its digest says: it was changed after it was" in refused(file)
