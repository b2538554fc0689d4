"""A new format is one module and one line in the table: boxes as CSV, one line each, through checks and pipeline."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from make_datasets import WRITERS, Examples, Written, paint
from shell import Shell
from small_recipe import small_recipe
from test_format_contract import FormatContract

import detnas
from detnas.data.formats.base import DatasetFormat, Query, Source
from detnas.data.formats.registry import FORMATS
from detnas.utils.errors import UserError

FIELDS = ("file", "width", "height", "category", "x", "y", "w", "h")


class CsvFormat(DatasetFormat[tuple[Path, Path]]):
    """SPLIT.csv with a line for each box and one for each image without any; the images lie in SPLIT/."""

    name = "CSV"
    files = "CSV file"
    layout = "train.csv (CSV) and the images in train/"
    lists_categories = False

    def find(self, query: Query) -> Sequence[tuple[Path, Path]]:
        file = query.directory / (query.name or f"{query.split}.csv")
        if file.suffix != ".csv" or (query.name is None and not file.is_file()):
            return []
        return [(file, query.images_folder() or query.directory / query.split)]

    def read(self, location: tuple[Path, Path]) -> Source:
        file, folder = location
        try:
            rows = list(csv.DictReader(file.read_text().splitlines(), FIELDS))
        except (OSError, ValueError) as error:
            raise UserError(f"{file}: cannot be read ({error}); name another by data.train or data.val") from None
        boxes, images = [], {}
        for number, row in enumerate(rows, start=1):
            try:
                width, height, *box = (int(row[key] or 0) for key in ("width", "height", "x", "y", "w", "h"))
            except (TypeError, ValueError) as error:
                raise UserError(f"{file}, line {number}: {error}; write {','.join(FIELDS)}") from None
            image = {"id": len(images) + 1, "file_name": row["file"], "width": width, "height": height}
            id = images.setdefault(row["file"], image)["id"]
            if row["category"]:
                boxes.append((row["category"], {"image_id": id, "bbox": box, "where": f"{file}, line {number}"}))
        categories = self.number_categories(name for name, _ in boxes)
        ids = {category.name: category.id for category in categories}
        tree = {
            "images": list(images.values()),
            "annotations": [{**box, "category_id": ids[name]} for name, box in boxes],
            "categories": [{"id": category.id, "name": category.name} for category in categories],
        }
        return Source(self, file, folder, tree)


def write_as_csv(folder: Path, data: Examples, *, usual: bool = True) -> Written:
    files, images = {}, {}
    for split, found in data.items():
        files[split] = folder / (f"{split}.csv" if usual else f"mine/{split} boxes.csv")
        images[split] = folder / (split if usual else f"photos/{split}")
        paint(images[split], found)
        files[split].parent.mkdir(parents=True, exist_ok=True)
        with files[split].open("w", newline="") as file:
            for image in found:
                for name, box in image.boxes or (("", ("", "", "", "")),):
                    csv.writer(file).writerow((f"{image.name}.png", image.width, image.height, name, *box))
    settings = {split: str(file.relative_to(folder)) for split, file in files.items()}
    settings |= {f"{split}_images": str(path.relative_to(folder)) for split, path in images.items()}
    return Written(files, files, images, settings)


@pytest.fixture(autouse=True)
def one_line_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, "CSV", CsvFormat())
    monkeypatch.setitem(WRITERS, "CSV", write_as_csv)


class TestCsvFormat(FormatContract):
    @pytest.fixture
    def format_name(self) -> str:
        return "CSV"


@pytest.fixture
def folder(blocks: Path, tmp_path: Path) -> Path:
    """The blocks of other tests as CSV."""
    for split in ("train", "val"):
        tree = json.loads((blocks / f"{split}.json").read_text())
        names = {category["id"]: category["name"] for category in tree["categories"]}
        images = {image["id"]: image for image in tree["images"]}
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / split).symlink_to(blocks / split)
        with (tmp_path / "data" / f"{split}.csv").open("w", newline="") as file:
            for annotation in tree["annotations"]:
                image = images[annotation["image_id"]]
                row = (image["file_name"], image["width"], image["height"], names[annotation["category_id"]])
                csv.writer(file).writerow((*row, *annotation["bbox"]))
    return tmp_path / "data"


def test_the_pipeline_runs_on_it(folder: Path, tmp_path: Path) -> None:
    detnas.run(small_recipe(), out=tmp_path / "run", data=folder)
    assert (tmp_path / "run" / "detector.safetensors").exists()


def test_data_check_describes_it(folder: Path, tmp_path: Path, shell: Shell) -> None:
    said = shell("data", "check", folder, "--out", tmp_path / "grid.png")
    assert f"train: CSV, {folder}/train.csv, images under {folder}/train\n  24 images, 36 boxes, 3 categories" in said
    (folder / "train.csv").unlink()
    said = shell.refused("data", "check", folder, "--out", tmp_path / "grid.png")
    assert "VOC tree or CSV file that is found by itself" in said and "train.csv (CSV)" in said
