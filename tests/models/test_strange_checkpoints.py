"""Official checkpoints from strangers: refused in one line, in little memory."""

import os
import pickle
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import official_reference as reference
import pytest
import torch
from torch import Tensor

from detnas.models.official import STEM, read_official
from detnas.spaces import Architecture, SearchSpace
from detnas.utils.errors import UserError

SPACE = SearchSpace("official", reference.STEM, reference.CHANNELS, reference.REPEATS)
NETWORK = SPACE, Architecture.parse("21 30 03 12")
BODY = {f"backbone.body.{STEM}": torch.zeros(8, 3, 3, 3)}
HUGE = 2**44


def refused(source: Any) -> str:
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as refusal:
            read_official(source, NETWORK)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    message = str(refusal.value)
    assert "\n" not in message and len(message) < 1100 and peak < 100e6
    return message


def repeated(*shape: int) -> Tensor:
    """A tensor that claims a shape, and holds one value."""
    return torch.zeros(1).as_strided(shape, (0,) * len(shape))


@pytest.mark.parametrize(
    "tensor",
    [
        repeated(HUGE),
        repeated(HUGE, 3, 3, 3),
        torch.empty(HUGE, device="meta"),
        torch.zeros(3).to_sparse(),
        torch.zeros(3, dtype=torch.complex64),
        torch.zeros(3, dtype=torch.bool),
    ],
    ids=range(6),
)
def test_tensors_that_do_not_hold_what_they_claim_are_refused(tensor: Tensor, tmp_path: Path) -> None:
    assert "is no plain tensor" in refused(BODY | {"a": tensor})
    torch.save(BODY | {"a": tensor}, tmp_path / "a.pth")
    refused(tmp_path / "a.pth")


@pytest.mark.parametrize(
    "tensors",
    [
        {"rpn.head.cls_tower.0.weight": torch.zeros(2048, 0, 3, 3)},
        {"rpn.head.cls_tower.0.weight": torch.zeros(HUGE, 0)},
        {"rpn.head.cls_tower.0.weight": torch.zeros(())},
        {"rpn.head.cls_tower.0.weight": torch.zeros(8, 1), "rpn.head.cls_logits.weight": torch.zeros(HUGE, 0)},
        {"rpn.head.cls_tower.0.weight": torch.zeros(8, 1), "rpn.head.cls_logits.weight": torch.zeros(10**6, 0)},
        {"roi_heads.box.predictor.cls_score.weight": torch.zeros(HUGE, 0)},
        {"roi_heads.box.feature_extractor.fc6.weight": torch.zeros(2**14, 0)},
        {"roi_heads.box.feature_extractor.fc6.weight": torch.zeros(HUGE, 0)},
        {f"roi_heads.box.feature_extractor.{i}": torch.zeros(8, 1, 1, 0) for i in range(10**4)},
        {f"roi_heads.box.feature_extractor.{i}": torch.zeros(2048, 1, 1, 0) for i in range(64)},
        {"rpn.anchor_generator.cell_anchors.0": torch.zeros(0)},
        {"rpn." + "a" * 10**6: torch.zeros(1)},
        {"rpn.\x1b]0;x\x07": torch.zeros(1)},
    ],
    ids=range(13),
)
def test_shapes_that_fit_no_network_are_refused_before_it_is_built(tensors: dict[str, Tensor]) -> None:
    refused(BODY | tensors)


def test_files_that_are_no_checkpoint_are_refused(tmp_path: Path) -> None:
    torch.save(BODY, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(tmp_path / "packed.pth", "w") as packed:
        for one in plain.infolist():
            packed.writestr(one.filename, plain.read(one), zipfile.ZIP_DEFLATED)
    assert "is compressed" in refused(tmp_path / "packed.pth")
    os.mkfifo(tmp_path / "pipe.pth")
    assert "not a regular file" in refused(tmp_path / "pipe.pth")
    (tmp_path / "deep.pth").write_bytes(pickle.PROTO + b"\x02" + b"(" * 10**5)
    for name in ("deep.pth", "a" * 300, "a\0b"):
        refused(tmp_path / name)
    refused({3: torch.zeros(1)})
    refused({"a" * 10**6: 3})
    refused({"model": {"model": {}}})
