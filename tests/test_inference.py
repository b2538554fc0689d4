"""Detecting on images with a weights file."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from make_coco import tree_of, write_coco
from PIL import Image
from pycocotools.coco import COCO

import detnas.inference as inference
from detnas.config import RetinaNetSettings
from detnas.inference import evaluate_weights, predict_images
from detnas.models.weights import DetectorInfo, save_detector
from detnas.spaces import search_space
from detnas.utils.errors import UserError
from detnas.utils.progress import Progress

NAME = "thing"


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
    info = DetectorInfo(space, space.uniform("shuffle3"), settings, ((7, NAME),))
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


# Where nothing can be written


def test_an_out_that_cannot_be_written_is_refused_before_images_are_read(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (image,) = save(tmp_path / "a.png")
    (tmp_path / "file").touch()
    monkeypatch.setattr(inference, "read_image", lambda path: pytest.fail("an image was read"))
    (tmp_path / "loop").symlink_to("loop")
    too_long = tmp_path / "new" / ("x" * 300) / "out"
    for out in (tmp_path / "file", tmp_path / "file" / "out", tmp_path / "loop", Path("/proc/detnas/out"), too_long):
        with pytest.raises(UserError, match=r"(cannot be written \(.*\); make room|name a folder)") as refusal:
            predict(weights, [image], out)
        assert str(out)[:100] in str(refusal.value) or "x" * 90 in str(refusal.value)
    assert not (tmp_path / "new").exists()
    if os.getuid() != 0:
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(UserError, match=r"locked: cannot be written \(Permission denied\)"):
            predict(weights, [image], tmp_path / "locked")


def test_a_full_disk_is_noticed_before_images_are_read(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**where: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(inference, "TemporaryFile", fail)
    monkeypatch.setattr(inference, "read_image", lambda path: pytest.fail("an image was read"))
    with pytest.raises(UserError, match=r"out: cannot be written \(No space left on device\)"):
        predict(weights, save(tmp_path / "a.png"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_may_be_as_long_as_names_can_be(weights: Path, tmp_path: Path) -> None:
    images = save(tmp_path / "in" / ("图" * 82 + ".jpg"), tmp_path / "in" / ("x" * 251 + ".png"))
    predict(weights, images, tmp_path / "out")
    assert {path.name for path in images} == set(json.loads((tmp_path / "out" / "predictions.json").read_text()))
    assert len(list((tmp_path / "out").glob("*.png"))) == 2


@pytest.mark.parametrize("name", ["y" * 255, "y" * 252 + ".bm"])
def test_a_name_after_which_no_result_can_be_called_is_refused(name: str, weights: Path, tmp_path: Path) -> None:
    (image,) = save(tmp_path / "a.png")
    image.rename(tmp_path / name)
    with pytest.raises(UserError, match=r"its result .* cannot be written \(File name too long\); rename the image"):
        predict(weights, [tmp_path / name], tmp_path / "out" / "deep")
    assert not (tmp_path / "out").exists()


def test_results_that_would_replace_a_folder_or_an_image_by_a_link_are_refused(weights: Path, tmp_path: Path) -> None:
    (image,) = save(tmp_path / "in" / "a.png")
    (tmp_path / "out" / "a.png").mkdir(parents=True)
    with pytest.raises(UserError, match=r"--out .*out: its a\.png is a folder"):
        predict(weights, [image], tmp_path / "out")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "a.png").symlink_to(image)
    with pytest.raises(UserError, match="is the folder of"):
        predict(weights, [tmp_path / "links"], tmp_path / "in")


# What stops it


class StoppedError(BaseException):
    """As a signal."""


@pytest.mark.parametrize("error", [StoppedError(), UserError("b.png: cannot be written"), RuntimeError("no memory")])
def test_what_was_found_is_kept_when_something_stops_it(
    error: BaseException, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = save(*(tmp_path / "in" / f"{number}.png" for number in range(7)))
    whole = tmp_path / "whole"
    predict(weights, images, whole)
    write = inference.write_image

    def fail(path: Path, pixels: Any) -> None:
        if path.name == "4.png":
            raise error
        write(path, pixels)

    monkeypatch.setattr(inference, "write_image", fail)
    with pytest.raises(type(error)):
        predict(weights, images, tmp_path / "out")
    for name in ("predictions.json", "coco.json"):
        found, expected = (json.loads((folder / name).read_text()) for folder in (tmp_path / "out", whole))
        if name == "coco.json":
            assert found["images"] == expected["images"][:4] and found["categories"] == expected["categories"]
            assert found["annotations"] == [one for one in expected["annotations"] if one["image_id"] <= 4]
        else:
            assert found == {f"{number}.png": expected[f"{number}.png"] for number in range(4)}


def test_it_is_written_as_it_goes(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "WRITE_EVERY", 2)
    images = save(*(tmp_path / "in" / f"{number}.png" for number in range(6)))
    counts = []
    quiet = Progress(quiet=True)
    for line in predict_images(
        weights, images, tmp_path / "out", threshold=0.0, batch_size=1, device="cpu", progress=quiet
    ):
        file = tmp_path / "out" / "predictions.json"
        counts.append((line.partition(": ")[0], len(json.loads(file.read_text())) if file.exists() else 0))
    names = [str(tmp_path / "out" / f"{number}.png") for number in range(6)]
    assert counts == [*zip(names, [0, 2, 2, 4, 4, 6], strict=True), (str(tmp_path / "out" / "predictions.json"), 6)]


def test_earlier_results_stay_where_nothing_was_found(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = save(tmp_path / "in" / "a.png")
    predict(weights, images, tmp_path / "out")
    before = (tmp_path / "out" / "predictions.json").read_bytes()

    def fail(*args: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(inference, "detect", fail)
    with pytest.raises(RuntimeError):
        predict(weights, images, tmp_path / "out")
    assert (tmp_path / "out" / "predictions.json").read_bytes() == before


# Images of which nothing is left


def test_images_of_which_nothing_is_left_are_refused(weights: Path, tmp_path: Path) -> None:
    thin = tmp_path / "in" / "b.png"
    save(tmp_path / "in" / "a.png")
    for size, fits in (((3, 2000), False), ((64, 1), False), ((1000, 16), True), ((1, 63), True)):
        Image.new("RGB", size).save(thin)
        if fits:
            assert len(predict(weights, [tmp_path / "in"], tmp_path / "out")) == 3
            continue
        with pytest.raises(UserError, match=rf"b\.png: nothing is left .* {size[0]}x{size[1]} .*max_size = 64; cut it"):
            predict(weights, [tmp_path / "in"], tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_evaluation_refuses_them_too(weights: Path, tmp_path: Path) -> None:
    boxes = [(1, [1.0, 1.0, 2.0, 40.0])]
    tree = tree_of([(50, 40, boxes), (4, 300, boxes)])
    tree["categories"] = [{"id": 7, "name": NAME}]
    for one in tree["annotations"]:
        one["category_id"] = 7
    write_coco(tmp_path / "val.json", tmp_path / "val", tree)
    with pytest.raises(UserError, match=r"nothing is left of the shorter side of its 4x300 pixels"):
        list(evaluate_weights(weights, tmp_path, batch_size=1, device="cpu", progress=Progress(quiet=True)))


# Names that the font cannot draw


def test_names_beyond_the_font_have_a_legend(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    load, draw = inference.load_detector, inference.draw_boxes

    def renamed(*args: Any) -> Any:
        detector, info = load(*args)
        return detector, replace(info, categories=((7, "人"),))

    def drawn(image: Any, boxes: Any, labels: Any, captions: list[str]) -> Any:
        seen.extend(captions)
        return draw(image, boxes, labels, captions)

    monkeypatch.setattr(inference, "load_detector", renamed)
    monkeypatch.setattr(inference, "draw_boxes", drawn)
    lines = predict(weights, save(tmp_path / "a.png"), tmp_path / "out")
    assert lines[-1].endswith(": #7 = 人") and all(one.startswith("#7 \\u4eba 0.") for one in seen) and seen
    assert "\\u4eba" in (tmp_path / "out" / "predictions.json").read_text()
