"""Synthetic data go through the readers that real data go through."""

from pathlib import Path

import pytest
from PIL import Image

from detnas.config import DataSettings
from detnas.data.check import check
from detnas.data.classification import read_image_folder
from detnas.data.images import read_image
from detnas.data.splits import open_data
from detnas.data.synthetic import CATEGORIES, CLASSES, CLASSIFICATION, IMAGES, write_synthetic_data
from detnas.utils.progress import Progress


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stand") / "in"
    write_synthetic_data(folder, classification=True)
    return folder


def test_synthetic_images_are_a_data_set_without_flaws(synthetic: Path) -> None:
    lines, fine = check(synthetic, DataSettings(), Progress(quiet=True))
    assert fine and not any("ERROR" in line or "note" in line for line in lines), lines
    data = open_data(synthetic, DataSettings(), seed=0)
    assert (len(data.train), len(data.val)) == (IMAGES["train"], IMAGES["val"])
    assert len(data.train.categories) == CATEGORIES == len(set(data.train.labels.tolist()))


def test_synthetic_images_are_as_large_as_photographs(synthetic: Path) -> None:
    data = open_data(synthetic, DataSettings(), seed=0).train
    for index in range(12):
        assert read_image(data.files[index]).shape == (3, data.sizes[index, 1], data.sizes[index, 0])
        with Image.open(data.files[index]) as image:
            assert image.format == "JPEG"
    widths, heights = data.sizes.T
    assert (widths > heights).any() and (widths < heights).any()
    bytes_of_one = [file.stat().st_size for file in data.files]
    assert 80e3 < sum(bytes_of_one) / len(bytes_of_one) < 250e3  # COCO's have about 160 kB


def test_the_image_folder_holds_every_class(synthetic: Path) -> None:
    files, labels, classes = read_image_folder(synthetic / CLASSIFICATION)
    assert len(classes) == CLASSES and sorted(labels) == list(range(CLASSES))
    assert {read_image(file).shape[1:] for file in files[:8]} >= {(375, 500), (500, 375)}


def test_without_an_image_folder(tmp_path: Path) -> None:
    write_synthetic_data(tmp_path / "in", classification=False)
    assert {path.name for path in (tmp_path / "in").iterdir()} == {"train", "val", "train.json", "val.json"}
