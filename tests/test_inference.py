"""Detecting on images with a weights file."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pycocotools.coco import COCO

from detnas.config import RetinaNetSettings
from detnas.inference import predict_images
from detnas.models.weights import DetectorInfo, save_detector
from detnas.spaces import search_space
from detnas.utils.errors import UserError
from detnas.utils.progress import Progress


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    space = search_space("tiny", 0.25)
    settings = RetinaNetSettings(
        min_size=64,
        max_size=64,
        fpn_channels=16,
        head_convs=1,
        extra_levels=0,
        anchor_sizes=(16, 32, 64),
        score_threshold=0.0,
    )
    info = DetectorInfo(space, space.uniform("shuffle3"), settings, ((7, "thing"),))
    file = tmp_path_factory.mktemp("weights") / "detector.safetensors"
    save_detector(file, info.build(), info)
    return file


def test_the_search_is_not_imported() -> None:
    code = "import detnas.inference, sys; sys.exit('detnas.search' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def predict(weights: Path, images: list[Path], out: Path) -> list[str]:
    quiet = Progress(quiet=True)
    return list(predict_images(weights, images, out, threshold=0.0, batch_size=2, device="cpu", progress=quiet))


def save(*files: Path) -> list[Path]:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (50, 40), "teal").save(file)
    return list(files)


def test_images_and_folders_of_them_are_drawn(weights: Path, tmp_path: Path) -> None:
    single, *_ = save(tmp_path / "c.png", tmp_path / "in" / "b.jpg", tmp_path / "in" / "a.BMP")
    (tmp_path / "in" / "notes.txt").write_text("hello")
    lines = predict(weights, [single, tmp_path / "in"], tmp_path / "out")
    predictions = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert list(predictions) == ["c.png", "a.BMP", "b.jpg"] and len(lines) == 4
    written = {"a.png", "b.png", "c.png", "predictions.json", "coco.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == written
    for name, found in predictions.items():
        with Image.open(tmp_path / "out" / f"{Path(name).stem}.png") as drawn:
            assert drawn.size == (50, 40) and drawn.mode == "RGB"
        assert found and all(one["category_id"] == 7 and one["name"] == "thing" for one in found)
        assert all(0 <= x1 <= x2 <= 50 and 0 <= y1 <= y2 <= 40 for x1, y1, x2, y2 in (one["box"] for one in found))


def test_patterns_are_expanded(weights: Path, tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png", tmp_path / "in" / "deep" / "b.png", tmp_path / "in" / "c.jpg")
    predict(weights, [tmp_path / "in" / "**" / "*.png"], tmp_path / "out")
    assert list(json.loads((tmp_path / "out" / "predictions.json").read_text())) == ["a.png", "b.png"]


def test_the_coco_file_is_a_data_set_and_its_annotations_are_results(weights: Path, tmp_path: Path) -> None:
    predict(weights, save(tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c.png"), tmp_path / "out")
    predictions = json.loads((tmp_path / "out" / "predictions.json").read_text())
    coco = COCO(str(tmp_path / "out" / "coco.json"))
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == ["a.png", "b.png", "c.png"]
    for image in coco.loadImgs(coco.getImgIds()):
        found = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
        assert (image["width"], image["height"]) == (50, 40)
        assert [one["score"] for one in found] == [one["score"] for one in predictions[image["file_name"]]]
        for one, expected in zip(found, predictions[image["file_name"]], strict=True):
            x, y, width, height = one["bbox"]
            assert (x, y, x + width, y + height) == pytest.approx(expected["box"])
    results = coco.loadRes(coco.dataset["annotations"])
    assert len(results.getAnnIds()) == sum(map(len, predictions.values())) > 0


def test_what_would_overwrite_or_cannot_be_read_is_refused_before_anything_is_written(
    weights: Path, tmp_path: Path
) -> None:
    png, jpg, other = save(tmp_path / "in" / "a.png", tmp_path / "in" / "a.jpg", tmp_path / "b.jpg")
    (tmp_path / "bare").mkdir()
    (tmp_path / "broken.png").write_text("hello")
    out = tmp_path / "out"
    for images, folder, words in (
        ([png, jpg], out, r"a\.jpg: its result a\.png is also that of .*a\.png"),
        ([tmp_path / "in"], out, r"its result a\.png is also that of"),
        ([png], tmp_path / "in" / ".." / "in", r"--out .*: is the folder of .*a\.png"),
        ([other, tmp_path / "nowhere.png"], out, r"nowhere\.png: no such image"),
        ([other, tmp_path / "bare"], out, "bare: no image in this folder"),
        ([other, tmp_path / "broken.png"], out, r"broken\.png: this image cannot be decoded"),
    ):
        with pytest.raises(UserError, match=words) as refusal:
            predict(weights, images, folder)
        assert "\n" not in str(refusal.value)
    assert not out.exists() and {path.name for path in (tmp_path / "in").iterdir()} == {"a.png", "a.jpg"}


def test_a_folder_for_weights_a_file_for_results_and_an_unknown_device_are_refused(
    weights: Path, tmp_path: Path
) -> None:
    image = tmp_path / "image.png"
    Image.new("RGB", (64, 64)).save(image)
    settings: dict[str, Any] = {"threshold": 0.5, "batch_size": 1, "progress": Progress(quiet=True)}
    with pytest.raises(UserError, match="it is a folder"):
        list(predict_images(tmp_path, [image], tmp_path / "out", device="cpu", **settings))
    with pytest.raises(UserError, match="name a folder"):
        list(predict_images(weights, [image], image, device="cpu", **settings))
    with pytest.raises(UserError, match="device = 'tpu': unknown; choose auto, cpu or cuda"):
        list(predict_images(weights, [image], tmp_path / "out", device="tpu", **settings))
