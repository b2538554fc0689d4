"""Looking at a data set before training."""

import json
from pathlib import Path

import pytest
from make_coco import some_images, tree_of, write_coco
from PIL import Image

from detnas.config import DataSettings
from detnas.data.check import check
from detnas.utils.errors import UserError
from detnas.utils.progress import Progress


@pytest.mark.parametrize(
    ("annotations", "images"),
    [("train.json", "train"), ("annotations/instances_train2017.json", "images/train2017"), ("train.json", ".")],
)
def test_a_sound_data_set_is_described(annotations: str, images: str, tmp_path: Path) -> None:
    write_coco(tmp_path / annotations, tmp_path / images, tree_of(some_images(6)))
    lines, fine = check(tmp_path, DataSettings(), Progress(quiet=True))
    assert fine and lines[-1] == "No errors found."
    assert "train: " in lines[0] and str(tmp_path / annotations) in lines[0] and str(tmp_path / images) in lines[0]
    assert "6 images, 9 boxes, 3 categories" in lines[1]


def test_images_that_are_none_and_sizes_that_differ_are_errors(tmp_path: Path) -> None:
    tree = tree_of(some_images(6))
    write_coco(tmp_path / "train.json", tmp_path / "train", tree)
    (tmp_path / "train" / "20.png").write_text("hello")
    Image.new("RGB", (10, 12)).save(tmp_path / "train" / "30.png")
    lines, fine = check(tmp_path, DataSettings(), Progress(quiet=True))
    assert not fine and lines[-1] == "Fix the errors before training."
    assert any("ERROR: 1 files that are no images, or damaged (first: 20.png, its" in line for line in lines)
    assert any("ERROR: 1 images of another size" in line and "30.png: 10x12, not 24x24" in line for line in lines)


def test_a_name_that_no_file_can_have_is_one_more_missing_image(tmp_path: Path) -> None:
    tree = tree_of(some_images(2))
    write_coco(tmp_path / "train.json", tmp_path / "train", tree)
    tree["images"][0]["file_name"] = "x" * 4000
    (tmp_path / "train.json").write_text(json.dumps(tree))
    lines, fine = check(tmp_path, DataSettings(), Progress(quiet=True))
    assert not fine and any("ERROR: 1 images that are not under" in line for line in lines)


def test_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is empty"):
        check(tmp_path, DataSettings(), Progress(quiet=True))
