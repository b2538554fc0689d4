"""`detnas bench-latency`."""

from pathlib import Path

import onnx
import pytest
import torch
from detecting import write_noise, write_weights
from shell import Shell
from torch import nn

import detnas
from detnas.exporting.onnx_model import onnx_model, with_about
from detnas.profiling.latency import backends


@pytest.mark.parametrize(
    ("format", "given"), [("onnx", "480x640x3"), ("onnx-raw", "1x3x64x96"), ("onnx-backbone", "1x3x480x640")]
)
def test_every_onnx_format_is_timed(
    format: str,
    given: str,
    tmp_path: Path,
    shell: Shell,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backends, "MAX_SECONDS", 0)
    weights = write_weights(tmp_path / "a.safetensors")
    file = detnas.export(weights, format, tmp_path / "a.onnx", check=write_noise(tmp_path))
    said = shell("bench-latency", file)
    assert said.startswith(f"{file}: ") and "1 thread; batch size 1" in said and f"input shape {given}" in said
    assert f"ms, the median of {backends.MIN_ROUNDS} runs" in said


DETECTOR = {"type": "retinanet", "min_size": 64, "max_size": 96}
ABOUT = {"holds": "backbone", "space": "toy", "architecture": "0 0", "stages": 1, "detector": DETECTOR}


@pytest.mark.parametrize(
    "about",
    [
        {"holds": "network"},
        {"holds": ["backbone"]},
        {"space": "a/../b"},
        {"space": "\x1b]0;x\x07"},
        {"architecture": "0" * 10**6},
        {"holds": "raw detector", "detector": None},
        {"holds": "raw detector", "stages": 3},
        {"holds": "raw detector", "detector": DETECTOR | {"min_size": 10**9, "max_size": 10**9}},
        {"holds": "raw detector", "detector": DETECTOR | {"image_std": [0, 0, 0]}},
        {"holds": "raw detector", "detector": {"type": "a"}},
        {"holds": "raw detector"},
        {},
    ],
    ids=range(12),
)
def test_metadata_of_strangers_give_one_line(about: dict[str, object], tmp_path: Path, shell: Shell) -> None:
    """Those that fit do not fit the network: it takes vectors of two numbers."""
    model = onnx_model(nn.ReLU(), (torch.zeros(2),), inputs=["images"])
    (tmp_path / "a.onnx").write_bytes(with_about(model, ABOUT | about))
    said = shell.refused("bench-latency", tmp_path / "a.onnx")
    assert said.count("\n") <= 1 and ("metadata are not those" in said or "does not run" in said)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 10**5, '{"holds": NaN}', '{"holds": "backbone"}'])
def test_metadata_that_are_none_give_one_line(text: str, tmp_path: Path, shell: Shell) -> None:
    tree = onnx.load_model_from_string(onnx_model(nn.ReLU(), (torch.zeros(2),)))
    tree.metadata_props.add(key="detnas", value=text)
    (tmp_path / "a.onnx").write_bytes(tree.SerializeToString())
    assert "metadata are not those" in shell.refused("bench-latency", tmp_path / "a.onnx")


def test_other_files_are_refused(tmp_path: Path, shell: Shell) -> None:
    assert "no such file" in shell.refused("bench-latency", tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    assert "not an ONNX model" in shell.refused("bench-latency", tmp_path / "text.onnx")
    (tmp_path / "other.onnx").write_bytes(onnx_model(nn.ReLU(), (torch.zeros(2),)))
    assert "has no metadata of detnas" in shell.refused("bench-latency", tmp_path / "other.onnx")
