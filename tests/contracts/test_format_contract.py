"""What every format of data sets must do: the same images and boxes, written in it, are found and read back."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from make_datasets import CATEGORIES, DATA, WRITERS, Example, Examples, Written

from detnas.config import DataSettings
from detnas.data.check import check
from detnas.data.detection import DetectionSet
from detnas.data.formats.base import Query
from detnas.data.formats.discovery import find_sources
from detnas.data.formats.registry import FORMATS
from detnas.data.splits import RunData, open_data, open_validation
from detnas.utils.errors import UserError
from detnas.utils.progress import Progress

SPLITS = ("train", "val")
ONLY_TRAIN: Examples = {"train": DATA["train"]}
ONLY_VAL: Examples = {"val": DATA["val"]}
Write = Callable[..., Written]


def opened(folder: Path, **settings: object) -> RunData:
    return open_data(folder, DataSettings(**settings), seed=0)


def refused(folder: Path, **settings: object) -> str:
    with pytest.raises(UserError) as refusal:
        opened(folder, **settings)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def contents(data: DetectionSet) -> dict[str, Example]:
    """What a set holds, by the names of its images."""
    found = {}
    for index, file in enumerate(data.files):
        assert file.is_file()
        boxes = data.boxes[data.rows_of(index)]
        assert np.abs(boxes - boxes.round()).max(initial=0) < 1e-9
        names = [data.categories[label].name for label in data.labels[data.rows_of(index)]]
        width, height = data.sizes[index].tolist()
        pairs = zip(names, map(tuple, boxes.round().astype(int).tolist()), strict=True)
        found[file.stem] = Example(file.stem, width, height, tuple(pairs))
    return found


def by_name(*splits: str) -> dict[str, Example]:
    return {image.name: image for split in splits for image in DATA[split]}


class FormatContract:
    """Derive from it and give the fixture `format_name`, a key of `FORMATS` for which `write` writes."""

    @pytest.fixture
    def write(self, format_name: str) -> Write:
        assert format_name in WRITERS, f"write the data set of make_datasets.py as {format_name}, for these tests"
        return WRITERS[format_name]

    def test_its_name_is_its_key_in_the_table(self, format_name: str) -> None:
        format = FORMATS[format_name]
        assert format.name == format_name and format.files and format.layout

    @pytest.mark.parametrize("usual", [True, False])
    def test_the_same_images_and_boxes_are_read_back(
        self, usual: bool, write: Write, format_name: str, tmp_path: Path
    ) -> None:
        written = write(tmp_path, DATA, usual=usual)
        data = opened(tmp_path, **({} if usual else written.settings))
        assert contents(data.train) == by_name("train") and contents(data.val) == by_name("val")
        assert [file.stem for file in data.val.files] == [image.name for image in DATA["val"]]
        assert data.train.categories == data.val.categories
        assert tuple(category.name for category in data.train.categories) == CATEGORIES
        assert not data.val_is_cut and data.description.startswith(f"{format_name}: ")
        assert all(str(file) in data.description for file in written.annotations.values())
        assert data.train.areas == pytest.approx(data.train.boxes[:, 2] * data.train.boxes[:, 3])
        assert not data.train.crowd.any() and len(set(data.train.image_ids)) == len(data.train)

    def test_what_the_recipe_must_name_is_not_found_without(self, write: Write, tmp_path: Path) -> None:
        written = write(tmp_path, DATA, usual=False)
        assert "that is found by itself" in refused(tmp_path) and "data.train" in refused(tmp_path)
        away = tmp_path / "elsewhere"
        away.mkdir()
        settings = {key: str(tmp_path / name) for key, name in written.settings.items()}
        assert contents(opened(away, **settings).train) == by_name("train")

    def test_the_recipe_may_name_one_split_only(self, write: Write, tmp_path: Path) -> None:
        written = write(tmp_path, DATA)
        for split in SPLITS:
            data = opened(tmp_path, **{split: written.settings[split]})
            assert contents(data.train) == by_name("train") and contents(data.val) == by_name("val")

    def test_without_a_validation_set_one_is_cut(self, write: Write, tmp_path: Path) -> None:
        written = write(tmp_path, ONLY_TRAIN)
        assert set(find_sources(tmp_path, DataSettings())) == {"train"}
        for settings in ({}, {"train": written.settings["train"]}):
            data = opened(tmp_path, **settings)
            assert data.val_is_cut and len(data.train) == 8 and len(data.val) == 2
            assert contents(data.train) | contents(data.val) == by_name("train")
            assert data.train.categories == data.val.categories
            assert "2 images of it set aside" in data.description

    def test_the_validation_set_alone_is_that_of_the_run(self, write: Write, tmp_path: Path) -> None:
        for name, written in (("both", DATA), ("one", ONLY_TRAIN)):
            write(tmp_path / name, written)
            for settings, seed in ((DataSettings(), 0), (DataSettings(val_fraction=0.4), 3)):
                whole = open_data(tmp_path / name, settings, seed)
                alone = open_validation(tmp_path / name, settings, seed, whole.train.categories)
                assert alone.files == whole.val.files and alone.image_ids == whole.val.image_ids
                assert np.array_equal(alone.boxes, whole.val.boxes) and np.array_equal(alone.labels, whole.val.labels)
                assert alone.categories == whole.val.categories

    def test_the_validation_set_alone_needs_no_training_set(self, write: Write, tmp_path: Path) -> None:
        written = write(tmp_path / "both", DATA)
        written.first["train"].write_text("{")
        for image in DATA["train"]:
            (written.images["train"] / f"{image.name}.png").unlink()
        assert contents(open_validation(tmp_path / "both", DataSettings(), 0)) == by_name("val")
        write(tmp_path / "one", ONLY_VAL)
        assert contents(open_validation(tmp_path / "one", DataSettings(), 0)) == by_name("val")
        assert "data.train" in refused(tmp_path / "one")

    def test_check_describes_it(self, write: Write, format_name: str, tmp_path: Path) -> None:
        write(tmp_path, DATA)
        sources = {split: found[0] for split, found in find_sources(tmp_path, DataSettings()).items()}
        lines, data = check(tmp_path, DataSettings(), Progress(quiet=True))
        assert data is not None and lines[-1] == "No errors found."
        for split, source in sources.items():
            line = lines.index(f"{split}: {FORMATS[format_name].describe(source)}")
            boxes = sum(len(image.boxes) for image in DATA[split])
            assert lines[line].startswith(f"{split}: {format_name}, {source.annotations}, images under ")
            assert lines[line + 1].startswith(f"  {len(DATA[split])} images, {boxes} boxes, ")

    # What is refused

    @pytest.mark.parametrize("split", SPLITS)
    def test_a_missing_image_is_named(self, split: str, write: Write, tmp_path: Path) -> None:
        written = write(tmp_path, DATA)
        file = written.images[split] / f"{DATA[split][0].name}.png"
        file.unlink()
        message = refused(tmp_path)
        assert message.startswith(f"{written.annotations[split]}: 1 ") and file.name in message
        lines: list[str] = []
        try:
            lines, data = check(tmp_path, DataSettings(), Progress(quiet=True))
            assert data is None
        except UserError as refusal:
            lines = [str(refusal)]
        assert any(file.name in line for line in lines)

    def test_a_missing_folder_of_images_is_named(self, write: Write, tmp_path: Path) -> None:
        written = write(tmp_path, DATA)
        folder = written.images["train"]
        shutil.move(folder, tmp_path / "gone")
        message = refused(tmp_path)
        assert message.startswith(f"{written.annotations['train']}: 10 ") and "train0.png" in message
        assert str(folder) in message or "data.train_images" in message

    def test_a_missing_data_folder_is_named(self, write: Write, tmp_path: Path) -> None:
        written = write(tmp_path / "data", DATA)
        message = refused(tmp_path / "date", **written.settings)
        assert message.startswith(f"--data {tmp_path / 'date'}: no such folder")

    @pytest.mark.parametrize("split", SPLITS)
    def test_a_name_that_is_not_there_is_refused(self, split: str, write: Write, tmp_path: Path) -> None:
        written = write(tmp_path, DATA, usual=False)
        missing = written.settings[split].replace("mine/", "mine/un")
        message = refused(tmp_path, **{**written.settings, split: missing})
        assert Path(missing).name in message and f"data.{split}" in message

    @pytest.mark.parametrize("split", SPLITS)
    def test_a_malformed_file_is_named(self, split: str, write: Write, tmp_path: Path) -> None:
        file = write(tmp_path, DATA).first[split]
        for content in (b"\xff\xfe\x00\x81", b"{<", b"hello world", b"\0"):
            file.write_bytes(content)
            assert refused(tmp_path).startswith(str(file))

    @pytest.mark.parametrize("split", SPLITS)
    def test_a_malformed_number_is_named_with_its_file(self, split: str, write: Write, tmp_path: Path) -> None:
        box = (3001, 2, 10, 8)
        image = Example(f"{split}0", 40, 20, (("nut", box),))
        file = write(tmp_path, {**DATA, split: [image, *DATA[split][1:]]}).first[split]
        text = file.read_text()
        number = next(word for word in ("3001", "3002", str((3001 + 5) / 40)) if word in text)
        file.write_text(text.replace(number, '"many"'))
        message = refused(tmp_path)
        assert message.startswith(str(file)) and "many" in message

    @pytest.mark.parametrize("split", SPLITS)
    def test_a_box_outside_its_image_is_refused_or_dropped(self, split: str, write: Write, tmp_path: Path) -> None:
        image = DATA[split][0]
        worse = Example(image.name, image.width, image.height, (*image.boxes, ("pin", (32, 4, 12, 8))))
        written = write(tmp_path, {**DATA, split: [worse, *DATA[split][1:]]})
        message = refused(tmp_path)
        assert message.startswith(f"{written.annotations[split]}: 1 boxes outside their image")
        assert "in 40x20 pixels" in message and "data.bad_boxes=drop" in message
        dropped = opened(tmp_path, bad_boxes="drop")
        assert contents(getattr(dropped, split)) == by_name(split)

    def test_a_box_may_be_cut_at_the_border_of_its_image(self, write: Write, tmp_path: Path) -> None:
        image = DATA["train"][0]
        boxes = (("pin", (32, 4, 12, 8)), ("pin", (-3, -4, 60, 60)), ("pin", (100, 4, 12, 8)), ("pin", (4, 4, 0, 8)))
        written = write(tmp_path, {**DATA, "train": [replace(image, boxes=boxes), *DATA["train"][1:]]})
        assert f"{written.annotations['train']}: 1 boxes without area" in refused(tmp_path)
        data = opened(tmp_path, bad_boxes="clip")
        kept = (("pin", (32, 4, 8, 8)), ("pin", (0, 0, 40, 20)))
        assert contents(data.train) == by_name("train") | {image.name: replace(image, boxes=kept)}
        assert data.train.areas == pytest.approx(data.train.boxes[:, 2] * data.train.boxes[:, 3])
        said = "\n".join(data.summary())
        assert "1 boxes without area (first: " in said and "left out, as data.bad_boxes says" in said
        assert "2 boxes outside their image (first: " in said and "cut at its border, as data.bad_boxes says" in said
        assert "1 boxes outside their image, of which nothing is within (first: " in said
        sound = opened(tmp_path, bad_boxes="drop", val=written.settings["val"]).val
        assert np.array_equal(sound.boxes, data.val.boxes)

    # What users are told

    def test_a_box_that_is_there_twice_is_read_once(self, write: Write, tmp_path: Path) -> None:
        image = DATA["train"][1]
        written = write(tmp_path, {**DATA, "train": [DATA["train"][0], replace(image, boxes=image.boxes * 3)]})
        plain = write(tmp_path / "plain", {**DATA, "train": DATA["train"][:2]})
        data = opened(tmp_path)
        times = 2 * len(image.boxes)
        note = f"Note: {written.annotations['train']}: {times} boxes that repeat another of the same image"
        assert any(line.startswith(note) for line in data.summary())
        assert data.fingerprint() == opened(tmp_path / "plain").fingerprint() and plain
        lines, _ = check(tmp_path, DataSettings(), Progress(quiet=True))
        assert any(line.startswith(f"  note: {times} boxes that repeat") for line in lines)

    def test_an_image_with_another_ending_is_found(self, write: Write, tmp_path: Path) -> None:
        written = write(tmp_path, DATA)
        folder = written.images["train"]
        for number, ending in enumerate((".PNG", ".jpg", ".jpeg")):
            file = folder / f"train{number}.png"
            file.rename(file.with_suffix(ending))
        data = opened(tmp_path)
        assert contents(data.train) | contents(data.val) == by_name("train", "val")
        assert any("3 images found by another name than the annotations have" in line for line in data.summary())
        shutil.copy(folder / "train0.PNG", folder / "train0.png")  # what is called so is meant
        assert any("2 images found by another name" in line for line in opened(tmp_path).summary())

    def test_hidden_files_are_passed_over(self, write: Write, tmp_path: Path) -> None:
        write(tmp_path, DATA)
        for file in [path for path in tmp_path.rglob("*") if path.is_file()]:
            file.with_name(f"._{file.name}").write_bytes(b"\0\5\x16\7\xff")
            (file.parent / ".thumbnails").mkdir(exist_ok=True)
            shutil.copy(file, file.parent / ".thumbnails")
        data = opened(tmp_path)
        assert contents(data.train) == by_name("train") and contents(data.val) == by_name("val")

    def test_images_that_are_there_twice_are_told(self, write: Write, tmp_path: Path) -> None:
        train, val = (replace(DATA["train"][0], name=name) for name in ("again", "leaked"))
        write(tmp_path, {"train": [*DATA["train"], train], "val": [*DATA["val"], val]})
        (twice,) = [line for line in opened(tmp_path).summary() if "there under another name too" in line]
        (leaked,) = [line for line in opened(tmp_path).summary() if "training images under another name" in line]
        assert "again.png is " in twice
        assert "leaked.png is " in leaked
        lines, data = check(tmp_path, DataSettings(), Progress(quiet=True))
        assert data is not None and {f"note: {leaked[6:]}", f"note: {twice[6:]}"} <= set(lines)

    # Other formats

    def test_it_finds_nothing_in_an_empty_folder_or_beside_images(self, format_name: str, tmp_path: Path) -> None:
        for name in ("", "images/train", "train", "val", "labels"):
            (tmp_path / name).mkdir(parents=True, exist_ok=True)
            for split in SPLITS:
                assert not FORMATS[format_name].find(Query(tmp_path, split))

    def test_it_finds_nothing_of_another_format(self, format_name: str, tmp_path: Path) -> None:
        for other in FORMATS.keys() - {format_name}:
            for usual in (True, False):
                folder = tmp_path / f"{other} {usual}"
                written = WRITERS[other](folder, DATA, usual=usual)
                for split in SPLITS:
                    assert not FORMATS[format_name].find(Query(folder, split)), other
                    assert not FORMATS[format_name].find(Query(folder, split, written.settings[split])), other
                    assert FORMATS[other].find(Query(folder, split, written.settings[split]))


class TestFormats(FormatContract):
    @pytest.fixture(params=FORMATS)
    def format_name(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)


@pytest.mark.parametrize(("first", "second"), list(combinations(FORMATS, 2)))
def test_where_a_folder_holds_two_formats_the_first_with_a_training_set_is_taken(
    first: str, second: str, tmp_path: Path
) -> None:
    WRITERS[second](tmp_path / "whole", DATA)
    WRITERS[first](tmp_path / "whole", ONLY_TRAIN)
    data = opened(tmp_path / "whole")
    assert data.description.startswith(f"{first}: ") and data.val_is_cut
    assert contents(data.train) | contents(data.val) == by_name("train")

    WRITERS[second](tmp_path / "stray", DATA)
    stray = WRITERS[first](tmp_path / "stray", ONLY_VAL)
    try:
        data = opened(tmp_path / "stray")
        assert data.description.startswith(f"{second}: ") and not data.val_is_cut
    except UserError as refusal:  # a file that describes both splits must have both
        assert str(refusal).startswith(f"{stray.annotations['val']}: has no 'train'")


@pytest.mark.parametrize(("first", "second"), list(combinations(FORMATS, 2)))
def test_the_recipe_decides_which_of_two_formats_is_taken(first: str, second: str, tmp_path: Path) -> None:
    WRITERS[first](tmp_path, DATA)
    written = WRITERS[second](tmp_path, DATA, usual=False)
    data = opened(tmp_path, **written.settings)
    assert data.description.startswith(f"{second}: ") and str(written.annotations["val"]) in data.description
