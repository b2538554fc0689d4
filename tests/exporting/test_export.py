"""`detnas export`: what is written where, on what it is checked, and what is refused."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from detecting import ARCHITECTURE, SPACE, detector, write_noise, write_weights
from PIL import Image
from shell import Shell

import detnas
from detnas.config import Preprocessing
from detnas.exporting import check
from detnas.exporting.export import FORMATS
from detnas.models.detectors.detect import detect
from detnas.models.supernet import Supernet
from detnas.models.weights import BackboneInfo, DetectorInfo, load_detector, save_backbone, save_detector
from detnas.utils.errors import UserError


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("noise")
    write_noise(folder)
    return folder


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_weights(tmp_path / "weights.safetensors")


def backbone_weights(file: Path, *, supernet: bool = False) -> Path:
    info = BackboneInfo(SPACE, None if supernet else ARCHITECTURE, Preprocessing())
    save_backbone(file, info.build(), info)
    return file


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_run_is_exported_beside_its_weights_and_checked_on_its_own_images(
    finished: Path,
    tmp_path: Path,
    shell: Shell,
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    said = shell("export", folder / "detector.safetensors")
    assert said.startswith(f"{folder / 'detector.onnx'}: image (height, width, 3) uint8 RGB")
    assert "checked on 8 images (" in said and "val0.png" in said
    eager, _ = load_detector(folder / "detector.safetensors")
    image = torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8)
    (expected,) = detect(eager, [image], torch.device("cpu"))
    session = onnxruntime.InferenceSession(folder / "detector.onnx")
    boxes, scores, labels = session.run(None, {"image": image.permute(1, 2, 0).numpy()})
    assert boxes.shape == expected.boxes.shape and np.allclose(np.sort(scores), np.sort(expected.scores), atol=1e-4)
    assert sorted(labels) == sorted(expected.labels)


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_on_named_images(
    format: str,
    weights: Path,
    noise: Path,
    tmp_path: Path,
    shell: Shell,
) -> None:
    out = tmp_path / "out" / f"mine{Path(FORMATS[format].file).suffix}"
    said = shell(
        "export", weights, "--format", format, "--check", noise / "0.png", "--check", noise / "2.png", "--out", out
    )
    assert said.startswith(f"{out}: ") and "checked on 2 images" in said
    assert left(out.parent) == (["mine.pt", "mine.py"] if format == "py" else [out.name])


def test_from_python(weights: Path, noise: Path) -> None:
    assert detnas.export(weights, "py", check=[noise]) == weights.with_name("backbone.py")
    assert left(weights.parent) == ["backbone.pt", "backbone.py", "weights.safetensors"]


@pytest.mark.parametrize("format", ["onnx-backbone", "py"])
def test_a_backbone_alone(format: str, tmp_path: Path, noise: Path) -> None:
    file = backbone_weights(tmp_path / "weights.safetensors")
    assert detnas.export(file, format, check=[noise]).is_file()


def test_images_of_a_data_folder(weights: Path, blocks: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    detnas.export(weights, "onnx-backbone", tmp_path / "a.onnx", data=blocks, log=lines.append)
    assert "checked on 8 images" in lines[1] and str(blocks) in lines[1]


def test_a_model_that_is_not_the_eager_one_is_not_written(
    weights: Path,
    noise: Path,
    shell: Shell,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(check, "PIXELS", -1.0)
    monkeypatch.setattr(check, "OF_LARGEST", -1.0)
    for format in ("onnx", "onnx-raw", "onnx-backbone", "py"):
        error = shell.refused("export", weights, "--format", format, "--check", noise)
        assert "eager model" in error and "nothing is written" in error
    assert left(weights.parent) == [weights.name]


def test_a_full_disk_leaves_nothing(weights: Path, noise: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import detnas.exporting.export as module

    def write_file(path: Path, write: object) -> None:
        if path.suffix == ".py":
            raise UserError(f"{path}: cannot be written (No space left on device)")
        path.write_text("weights")

    monkeypatch.setattr(module, "write_file", write_file)
    with pytest.raises(UserError, match=r"backbone.py: cannot be written .No space"):
        detnas.export(weights, "py", check=[noise])
    assert left(weights.parent) == [weights.name]


def test_without_onnx_one_line_names_the_extra(
    weights: Path,
    noise: Path,
    shell: Shell,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "detnas.exporting.onnx_model.find_spec", lambda name: None if name == "onnxruntime" else find(name)
    )
    error = shell.refused("export", weights, "--check", noise)
    assert 'onnxruntime not installed; pip install "detnas[onnx]"' in error
    shell("export", weights, "--check", noise, "--format", "py")


def test_what_cannot_be_exported_is_refused(weights: Path, noise: Path, tmp_path: Path, shell: Shell) -> None:
    folder = tmp_path / "folder.onnx"
    folder.mkdir()
    backbone = backbone_weights(tmp_path / "backbone.safetensors")
    supernet = backbone_weights(tmp_path / "supernet.safetensors", supernet=True)
    before = left(tmp_path)
    for words, reason in (
        ((weights, "--format", "onx", "--check", noise), "did you mean onnx"),
        ((weights, "--out", tmp_path / "a.pt2", "--check", noise), "end in .onnx"),
        ((weights, "--out", folder, "--check", noise), "is a folder"),
        ((weights,), "--check IMAGE, or a data folder by --data DIR"),
        ((weights, "--check", tmp_path / "none.png"), "no such image"),
        ((weights, "--check", weights), "cannot be decoded"),
        ((weights, "--check", noise, "--data", tmp_path), "leave out one of the two"),
        ((weights, "--data", tmp_path / "none"), "no such folder"),
        ((tmp_path / "none.safetensors", "--check", noise), "no such file"),
        ((backbone, "--check", noise), "holds a backbone alone"),
        ((supernet, "--format", "py", "--check", noise), "holds a supernet"),
    ):
        assert reason in shell.refused("export", *words)
    assert left(tmp_path) == before


def test_a_supernets_detector_is_refused(tmp_path: Path, noise: Path) -> None:
    _, info = detector("retinanet")
    info = DetectorInfo(SPACE, None, info.settings, info.categories)
    made = info.build()
    assert isinstance(made.backbone.body, Supernet)
    save_detector(tmp_path / "a.safetensors", made, info)
    for format in FORMATS:
        with pytest.raises(UserError, match="holds a supernet"):
            detnas.export(tmp_path / "a.safetensors", format, check=[noise])


@pytest.mark.parametrize("format", ["onnx", "onnx-raw", "onnx-backbone", "py"])
def test_an_image_of_which_nothing_is_left_checks_no_export(format: str, weights: Path, tmp_path: Path) -> None:
    Image.new("RGB", (3, 2000)).save(tmp_path / "strip.png")
    before = left(tmp_path)
    with pytest.raises(UserError, match=r"strip\.png: nothing is left of the shorter side of its 3x2000 pixels"):
        detnas.export(weights, format, check=[tmp_path / "strip.png"])
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"broken\.png: this image cannot be decoded"):
        detnas.export(weights, format, check=[tmp_path / "broken.png"])
    assert left(tmp_path) == sorted([*before, "broken.png"])
