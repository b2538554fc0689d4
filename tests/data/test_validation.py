"""What is found in a data set: by reading headers before a run, by decoding in `data check`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_coco import painted, some_images, tree_of, write_coco
from PIL import Image

from detnas.config import DataSettings
from detnas.data import decoding
from detnas.data.check import check
from detnas.data.images import Images
from detnas.data.splits import open_data
from detnas.utils.errors import UserError
from detnas.utils.progress import Progress


def tagged(folder: Path, name: str, orientation: int, pixels: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(folder / "train" / name, exif=exif)


def refused(folder: Path) -> str:
    """What a run and `data check` say, which is the same."""
    with pytest.raises(UserError) as refusal:
        open_data(folder, DataSettings(), seed=0)
    message = str(refusal.value).removeprefix(f"{folder / 'train.json'}: ")
    lines, data = check(folder, DataSettings(), Progress(quiet=True))
    assert data is None and f"  ERROR: {message}" in lines
    return message


def notes(folder: Path) -> list[str]:
    lines, data = check(folder, DataSettings(), Progress(quiet=True))
    assert data is not None
    return [line.removeprefix("  note: ") for line in lines if line.startswith("  note: ")]


def tree() -> dict[str, Any]:
    """Eight images of 30x20 pixels, one box each."""
    return tree_of([(30, 20, [(1, [2, 3, 8, 5])])] * 8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_coco(tmp_path / "train.json", tmp_path / "train", tree())
    return tmp_path


def stored(folder: Path, change: dict[str, Any]) -> None:
    (folder / "train.json").write_text(json.dumps(change))


# EXIF


UPRIGHT = painted(30, 20, [(1, [2, 3, 8, 5])])


@pytest.mark.parametrize("orientation", [2, 3, 4, 5, 6, 7, 8])
def test_boxes_lie_on_their_objects_whichever_way_was_annotated(orientation: int, folder: Path) -> None:
    """Stored so that a viewer shows it upright; then with the size and box of what is stored."""
    turn = {2: np.fliplr, 3: lambda p: np.rot90(p, 2), 4: np.flipud, 6: np.rot90, 8: lambda p: np.rot90(p, -1)}
    turn |= {5: lambda p: p.swapaxes(0, 1), 7: lambda p: np.rot90(p, 2).swapaxes(0, 1)}
    pixels = np.ascontiguousarray(turn[orientation](UPRIGHT))
    tagged(folder, "30.png", orientation, pixels)
    data = open_data(folder, DataSettings(val_fraction=0.01), seed=0).train
    place = data.image_ids.index(30)
    assert (Images(data.files, 0, data.sizes)[place].permute(1, 2, 0).numpy() == UPRIGHT).all()
    assert (
        f"1 images with an EXIF orientation, read as viewers show them (first: 30.png, orientation {orientation})"
        in notes(folder)
    )
    if orientation < 5:
        return
    changed = tree()
    ys, xs = np.nonzero(pixels.any(axis=2))
    box = [int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1]
    changed["images"][2].update(width=20, height=30)
    changed["annotations"][2]["bbox"] = box
    stored(folder, changed)
    data = open_data(folder, DataSettings(val_fraction=0.01), seed=0).train
    place = data.image_ids.index(30)
    assert (Images(data.files, 0, data.sizes)[place].permute(1, 2, 0).numpy() == pixels).all()
    assert data.boxes[data.rows_of(place)].tolist() == [box]
    assert any(
        "read as stored, since only then they have the stated size (first: 30.png" in note for note in notes(folder)
    )


def test_what_cannot_be_told_is_refused_where_others_were_annotated_as_stored(folder: Path) -> None:
    tagged(folder, "10.png", 3, UPRIGHT)
    tagged(folder, "20.png", 6, UPRIGHT)  # a viewer shows 20x30, the file says 30x20
    message = refused(folder)
    assert message.startswith("1 images with an EXIF orientation that have the stated size both")
    assert "(first: 10.png, orientation 3)" in message and "remove the tag" in message
    tagged(folder, "10.png", 1, UPRIGHT)
    assert len(notes(folder)) == 1


# Damage


@pytest.mark.parametrize("content", [b"", b"hello"])
def test_files_that_are_no_images_are_refused(content: bytes, folder: Path) -> None:
    for name in ("10.png", "40.png"):
        (folder / "train" / name).write_bytes(content)
    assert refused(folder) == (
        "2 files that are no images, or damaged (first: 10.png, its format is none of BMP, JPEG, PNG, TIFF and WebP); "
        "replace them"
    )


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_images_that_were_cut_short_are_refused(ending: str, folder: Path) -> None:
    changed = tree()
    changed["images"][4]["file_name"] = f"a.{ending}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)).save(
        folder / "train" / f"a.{ending}"
    )
    stored(folder, changed)
    assert notes(folder) == []
    content = (folder / "train" / f"a.{ending}").read_bytes()
    (folder / "train" / f"a.{ending}").write_bytes(content[: len(content) // 2])
    assert refused(folder).startswith(f"1 files that are no images, or damaged (first: a.{ending}, ")


def test_damage_within_is_found_by_the_check(folder: Path) -> None:
    file = folder / "train" / "50.png"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)
    lines, data = check(folder, DataSettings(), Progress(quiet=True))
    assert data is None and any(
        "ERROR: 1 files that are no images, or damaged (first: 50.png" in line for line in lines
    )
    train = open_data(folder, DataSettings(), seed=0).train
    with pytest.raises(UserError, match=r"50\.png: this image cannot be decoded"):
        Images(train.files, 100, train.sizes)


# Memory and depth


def test_large_and_nearly_black_images_are_noted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = np.full((20, 30), 4095, np.uint16)
    for name in ("20.png", "50.png"):
        Image.fromarray(deep).save(folder / "train" / name)
    Image.fromarray(deep * 16).save(folder / "train" / "60.png")
    assert notes(folder) == [
        "2 images of 16 bits a channel that are nearly black when read (first: 20.png); their values are below a "
        "quarter of the range: stretch those of all images alike over 8 bits"
    ]
    monkeypatch.setattr(decoding, "LARGE", 600)
    assert any("(first: 10.png, 0.0 GB of memory)" in note for note in notes(folder))


def test_images_that_the_memory_cannot_hold_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "LARGE", 600)
    monkeypatch.setattr("detnas.utils.memory.available_memory", lambda: 1000)
    assert refused(folder).startswith(
        "8 images that are too large for the memory (first: 10.png, its 30x20 pixels take about 0.0 GB "
    )


# Names and ids


@pytest.mark.parametrize("name", ["10.png", "./10.png", "deep/../10.png"])
def test_a_file_that_is_listed_twice_is_refused(name: str, folder: Path) -> None:
    (folder / "train" / "deep").mkdir()
    changed = tree()
    changed["images"][3]["file_name"] = name
    stored(folder, changed)
    assert (
        refused(folder) == "1 files that several images share (first: 10.png); list each file once, with all its boxes"
    )


def test_image_ids_that_are_shared_are_refused(folder: Path) -> None:
    changed = tree()
    changed["images"][3]["id"] = 10
    stored(folder, changed)
    assert refused(folder) == "1 ids that several images share (first: id 10); give each its own"


def test_names_may_have_spaces_folders_and_any_letters(folder: Path) -> None:
    changed = tree()
    for image, name in zip(changed["images"], ["a b.png", "ä/ö 図.png", "%20.png"], strict=False):
        file = folder / "train" / name
        file.parent.mkdir(exist_ok=True)
        (folder / "train" / image["file_name"]).rename(file)
        image["file_name"] = name
    stored(folder, changed)
    assert notes(folder) == []
    data = open_data(folder, DataSettings(val_fraction=0.01), seed=0)
    images = Images(data.train.files, 0, data.train.sizes)
    assert all((images[place].permute(1, 2, 0).numpy() == UPRIGHT).all() for place in range(len(images)))


@pytest.mark.parametrize("name", ["a\ud800.png", "\udc80"])
def test_halves_of_letters_are_refused(name: str, folder: Path) -> None:
    for key, field in (("images", "file_name"), ("categories", "name")):
        changed = tree()
        changed[key][1][field] = name
        stored(folder, changed)
        with pytest.raises(UserError, match=rf"{key}\[1\]\.{field} is '.*'; write the name"):
            open_data(folder, DataSettings(), seed=0)


def test_a_name_of_several_lines_is_refused_in_one(folder: Path) -> None:
    changed = tree()
    changed["images"][3]["file_name"] = "a\nb\r\n.png"
    stored(folder, changed)
    assert "(first: a b .png)" in refused(folder)


# Settings


def test_the_check_takes_data_fields(folder: Path) -> None:
    changed = tree()
    changed["annotations"][5]["bbox"] = [0, 0, 99, 99]
    stored(folder, changed)
    (folder / "train.json").rename(folder / "mine.json")
    lines, data = check(folder, DataSettings(train="mine.json", train_images="train"), Progress(quiet=True))
    assert data is None and any("ERROR: 1 boxes outside their image" in line for line in lines)
    settings = DataSettings(train="mine.json", train_images="train", bad_boxes="drop")
    lines, data = check(folder, settings, Progress(quiet=True))
    assert data is not None and any("note: 1 boxes outside their image" in line for line in lines)


def test_all_issues_are_reported_at_once(tmp_path: Path) -> None:
    bad = tree_of(some_images(8))
    write_coco(tmp_path / "train.json", tmp_path / "train", bad)
    (tmp_path / "train" / "10.png").write_bytes(b"")
    (tmp_path / "train" / "20.png").unlink()
    Image.new("RGB", (5, 6)).save(tmp_path / "train" / "30.png")
    bad["annotations"][-1]["category_id"] = 77
    bad["annotations"][0]["bbox"] = [0, 0, 0, 0]
    stored(tmp_path, bad)
    lines, _ = check(tmp_path, DataSettings(), Progress(quiet=True))
    assert sum("ERROR: 1 " in line for line in lines) == 5
