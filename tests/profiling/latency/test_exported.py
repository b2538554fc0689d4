"""`detnas bench-latency`."""

from pathlib import Path

import pytest
import torch
from detecting import write_noise, write_weights
from shell import Shell
from torch import nn

import detnas
from detnas.exporting.onnx_model import onnx_model
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


def test_other_files_are_refused(tmp_path: Path, shell: Shell) -> None:
    assert "no such file" in shell.refused("bench-latency", tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    assert "not an ONNX model" in shell.refused("bench-latency", tmp_path / "text.onnx")
    (tmp_path / "other.onnx").write_bytes(onnx_model(nn.ReLU(), (torch.zeros(2),)))
    assert "has no metadata of detnas" in shell.refused("bench-latency", tmp_path / "other.onnx")
