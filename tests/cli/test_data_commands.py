"""The commands on data sets."""

import json
from pathlib import Path

import pytest
from PIL import Image
from shell import Shell
from small_recipe import write_blocks

import detnas
from detnas.data.shapes.scenes import CLASSES


def test_data_check_of_a_fine_folder(
    blocks: Path, tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = shell("data", "check", blocks)
    assert f"Drawn with boxes: runs/check-{blocks.name}.jpg" in said
    assert Image.open(tmp_path / "runs" / f"check-{blocks.name}.jpg").width > 1000
    before = sorted(blocks.rglob("*"))
    monkeypatch.chdir(blocks)
    assert "Not drawn, since this is the data folder" in shell("data", "check", ".")
    assert "lies in the data folder" in shell.refused("data", "check", blocks, "--out", "a.png")
    assert sorted(blocks.rglob("*")) == before
    assert "24 images" in said and "8 images" in said and "3 categories" in said and "color 90" in said
    boxes = json.loads((blocks / "train.json").read_text())["annotations"]
    assert f"{len(boxes)} boxes" in said and "ERROR" not in said
    assert f"color 7 {sum(box['category_id'] == 7 for box in boxes)}" in said


def test_data_check_names_every_error(tmp_path: Path, shell: Shell) -> None:
    folder = write_blocks(tmp_path / "data")
    tree = json.loads((folder / "train.json").read_text())
    tree["annotations"][0]["bbox"] = [40, 40, 30, 30]
    tree["annotations"][1]["category_id"] = 5
    tree["images"][9]["width"] = 50
    (folder / "train.json").write_text(json.dumps(tree))
    (folder / "train/train3.png").unlink()
    (folder / "train/train4.png").write_bytes(b"GIF")
    said = shell("data", "check", folder, status=2)
    assert said.count("ERROR") == 5
    for words in ("train3.png", "train4.png", "category_id 5", "outside their image", "48x48, not 50x48"):
        assert words in said


def test_data_check_takes_data_fields_and_a_file(tmp_path: Path, shell: Shell) -> None:
    folder = write_blocks(tmp_path / "data")
    (folder / "train.json").rename(folder / "mine.json")
    words = ("data", "check", folder, "--out", tmp_path / "a.png", "--set", "data.train_images=train")
    assert "name the file by data.train" in shell.refused(*words)
    assert not (tmp_path / "a.png").exists()
    said = shell(*words, "--set", "data.train=mine.json")
    assert "mine.json" in said and f"Drawn with boxes: {tmp_path / 'a.png'}" in said and (tmp_path / "a.png").exists()
    assert "unknown key search" in shell.refused(*words, "--set", "search.images=3")


def test_data_check_of_nothing(tmp_path: Path, shell: Shell) -> None:
    assert "no such folder" in shell.refused("data", "check", tmp_path / "missing")
    assert "is empty" in shell.refused("data", "check", tmp_path)


def test_data_shapes(tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = detnas.data.shapes.write.write_shapes  # type: ignore[attr-defined]
    monkeypatch.setattr(
        "detnas.data.shapes.write.write_shapes",
        lambda directory, settings: whole(directory, settings.model_copy(update={"crops": 24})),
    )
    folder = tmp_path / "shapes"
    said = shell("data", "shapes", folder, "--train", 5, "--val", 2, "--size", 40, "--seed", 3)
    assert "5 + 2 images" in said
    tree = json.loads((folder / "train.json").read_text())
    assert len(tree["images"]) == 5 and tree["images"][0]["width"] == 40
    assert [category["name"] for category in tree["categories"]] == list(CLASSES)
    assert "No errors found" in shell("data", "check", folder, "--out", tmp_path / "a.jpg")
    assert "empty" in shell.refused("data", "shapes", folder)
