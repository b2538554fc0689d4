"""The commands on weights files: evaluate, predict."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from shell import Shell
from small_recipe import COLORS, small_recipe, write_blocks

from detnas.data.detection import DetectionSet
from detnas.evaluation.evaluate import Evaluation, evaluate
from detnas.models.detectors.build import Detector
from detnas.models.weights import load_detector
from detnas.run.pipeline import run


def decoded(path: Path) -> torch.Tensor:
    """(3, H, W) uint8."""
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)


def test_evaluate_says_what_the_run_says(finished: Path, blocks: Path, shell: Shell) -> None:
    said = shell("evaluate", finished / "detector.safetensors", "--data", blocks, "--batch-size", 4, "--device", "cpu")
    stored = json.loads((finished / "finetune/winner/evaluation.json").read_text())
    for name, score in (stored["scores"] | stored["per_class"]).items():
        shown = "-" if score is None else f"{score:.4f}"
        assert re.search(rf"^  {name} +{shown}", said, re.MULTILINE), (name, score, said)
    assert "on 8 images" in said


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run on data without a validation file, whose seed and share are not the usual ones; and the data."""
    folder = tmp_path_factory.mktemp("cut")
    data = write_blocks(folder / "data", train=40, val=0)
    recipe = small_recipe(
        seed=5,
        data__val_fraction=0.3,
        pretraining__source="none",
        search__evaluations=3,
        baselines=[],
        supernet_finetune__steps=10,
    )
    return run(recipe, folder / "run", data), data


def test_evaluate_cuts_the_validation_set_that_the_run_cut(
    cut: tuple[Path, Path], shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, data = cut
    evaluated: list[Path] = []

    def spied(detector: Detector, val: DetectionSet, *args: Any, **settings: Any) -> Evaluation:
        evaluated.extend(val.files)
        return evaluate(detector, val, *args, **settings)

    monkeypatch.setattr("detnas.inference.evaluate", spied)
    said = shell("evaluate", run / "detector.safetensors", "--data", data, "--device", "cpu")
    rows = json.loads((run / "splits.json").read_text())["val"]
    assert evaluated == [data / row["file"] for row in rows]
    stored = json.loads((run / "finetune/winner/evaluation.json").read_text())
    assert stored["images"] == 12
    assert "on 12 images" in said and f"  mAP    {stored['scores']['mAP']:.4f}" in said


def test_evaluate_takes_data_fields(cut: tuple[Path, Path], tmp_path: Path, shell: Shell) -> None:
    """Here a validation file with another name; the training annotations are not read."""
    run, _ = cut
    folder = write_blocks(tmp_path / "data")
    (folder / "val.json").rename(folder / "mine.json")
    (folder / "train.json").write_text("{")
    words = ("evaluate", run / "detector.safetensors", "--data", folder, "--device", "cpu", "--set")
    assert "on 8 images" in shell(*words, "data.val=mine.json", "--set", "data.val_images=val")
    assert "data.vall; did you mean data.val?" in shell.refused(*words, "data.vall=mine.json")
    assert "unknown key search" in shell.refused(*words, "search.images=3")
    assert "data.bad_boxes = 'keep'" in shell.refused(*words, "data.bad_boxes=keep")
    assert "train.json: not JSON" in shell.refused(*words, "data.bad_boxes=drop")


def test_evaluate_refuses_other_categories(finished: Path, tmp_path: Path, shell: Shell) -> None:
    folder = write_blocks(tmp_path / "data")
    for split in ("train", "val"):
        tree = json.loads((folder / f"{split}.json").read_text())
        tree["categories"][0]["name"] = "rot"
        (folder / f"{split}.json").write_text(json.dumps(tree))
    error = shell.refused("evaluate", finished / "detector.safetensors", "--data", folder)
    assert "categories" in error and "color 0, color 7, color 90" in error


def test_evaluate_refuses_what_is_no_weights_file(blocks: Path, tmp_path: Path, shell: Shell) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"no")
    for name in ("x.safetensors", "missing.safetensors"):
        assert name in shell.refused("evaluate", tmp_path / name, "--data", blocks)


def test_predict_writes_boxes_and_images(finished: Path, blocks: Path, tmp_path: Path, shell: Shell) -> None:
    weights, images = finished / "detector.safetensors", [blocks / "val/val0.png", blocks / "val/val1.png"]
    gray = tmp_path / "gray.jpg"
    Image.fromarray(np.full((50, 90), 80, np.uint8)).save(gray)
    detector, info = load_detector(weights)
    images.append(gray)
    with torch.no_grad():
        outputs = [detector([decoded(p).float() / 255])[0] for p in images]
    scores = sorted(float(score) for output in outputs for score in output["scores"])
    threshold = (scores[len(scores) // 2] + scores[len(scores) // 2 + 1]) / 2
    out = tmp_path / "out"
    said = shell("predict", weights, *images, "--out", out, "--threshold", threshold, "--device", "cpu")
    found = json.loads((out / "predictions.json").read_text())
    assert list(found) == ["val0.png", "val1.png", "gray.jpg"]
    assert sum(map(len, found.values())) == len(scores) - len(scores) // 2 - 1
    first = 1 if info.settings.type == "fpn" else 0
    for output, image, rows in zip(outputs, images, found.values(), strict=True):
        keep = output["scores"] >= threshold
        assert torch.tensor([row["score"] for row in rows]) == pytest.approx(output["scores"][keep])
        assert np.array([row["box"] for row in rows]).reshape(-1, 4) == pytest.approx(
            output["boxes"][keep].numpy(), abs=1e-3
        )
        ids = [list(COLORS)[label - first] for label in output["labels"][keep].tolist()]
        assert [row["category_id"] for row in rows] == ids
        assert [row["name"] for row in rows] == [f"color {id}" for id in ids]
        drawn = decoded(out / f"{image.stem}.png")
        given = decoded(image)
        assert drawn.shape == given.shape
        assert torch.equal(drawn, given) == (not rows)
        assert f"{image.stem}.png: {len(rows)} objects" in said


def test_predict_turns_images_as_viewers_show_them(finished: Path, blocks: Path, tmp_path: Path, shell: Shell) -> None:
    image = Image.open(blocks / "val/val0.png").crop((0, 0, 48, 30))
    image.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    files = (tmp_path / "upright.png", tmp_path / "turned.png")
    shell("predict", finished / "detector.safetensors", *files, "--out", tmp_path / "out", "--threshold", 0)
    found = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert found["upright.png"] == found["turned.png"] and found["upright.png"]
    assert torch.equal(decoded(tmp_path / "out/upright.png"), decoded(tmp_path / "out/turned.png"))


def test_predict_finds_nothing_above_the_highest_threshold(
    finished: Path, blocks: Path, tmp_path: Path, shell: Shell
) -> None:
    image = blocks / "val/val0.png"
    shell("predict", finished / "detector.safetensors", image, "--out", tmp_path, "--threshold", 1)
    assert json.loads((tmp_path / "predictions.json").read_text()) == {"val0.png": []}


def test_predict_refuses_before_it_writes(finished: Path, blocks: Path, tmp_path: Path, shell: Shell) -> None:
    weights, fine = finished / "detector.safetensors", blocks / "val/val0.png"
    torn = tmp_path / "torn.png"
    torn.write_bytes(fine.read_bytes()[:100])
    twin = tmp_path / "val0.png"
    twin.write_bytes(fine.read_bytes())
    same_stem = tmp_path / "val0.jpg"
    Image.open(fine).save(same_stem)
    for other, words in (
        (tmp_path / "none.png", "no such image"),
        (torn, "torn.png"),
        (twin, "is also that of"),
        (same_stem, "is also that of"),
    ):
        assert words in shell.refused("predict", weights, fine, other, "--out", tmp_path / "out")
        assert not (tmp_path / "out").exists()
    before = twin.read_bytes()
    assert "overwritten" in shell.refused("predict", weights, twin, "--out", tmp_path)
    assert twin.read_bytes() == before and not (tmp_path / "predictions.json").exists()
