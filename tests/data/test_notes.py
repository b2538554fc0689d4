"""What `data check` and a run say of data that can be used, but may not be what their owner thinks."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from make_coco import some_images, tree_of, write_coco
from make_voc import DOG, write_image, write_voc, xml_of
from make_yolo import write_yolo
from PIL import Image

from detnas.config import DataSettings
from detnas.data.check import check
from detnas.data.copies import PIECE, find_copies
from detnas.data.splits import RunData, open_data
from detnas.utils.errors import UserError
from detnas.utils.progress import Progress

DESCRIPTION = "train: images/train\nval: images/val\nnames: [cat, dog]\n"
BOX = "0 0.5 0.5 0.5 0.5"


def opened(folder: Path, **settings: object) -> RunData:
    return open_data(folder, DataSettings(**settings), seed=0)


def notes(folder: Path) -> list[str]:
    """The notes on the training set, of which `data check` and a run say the same."""
    lines, data = check(folder, DataSettings(), Progress(quiet=True))
    assert data is not None, lines
    said = [line.removeprefix("  note: ") for line in lines if line.startswith("  note: ")]
    assert [note for note in data.notes if not note.endswith(tuple(said))] == []
    assert [f"Note: {note}" for note in (*data.notes, *data.shared)] == data.summary()[2:]
    return said


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as refusal:
        opened(folder)
    lines, data = check(folder, DataSettings(), Progress(quiet=True))
    message = str(refusal.value)
    assert data is None and any("ERROR: " in line and line.partition("ERROR: ")[2] in message for line in lines)
    return message


def coco(folder: Path, change: Callable[[dict[str, Any]], object] = lambda tree: None) -> Path:
    tree = tree_of(some_images(8))
    write_coco(folder / "train.json", folder / "train", tree)
    change(tree)
    (folder / "train.json").write_text(json.dumps(tree))
    return folder


# Boxes as shares, in pixels, of crowds


def shares(tree: dict[str, Any]) -> None:
    for annotation in tree["annotations"]:
        annotation["bbox"] = [side / 24 for side in annotation["bbox"]]


def test_boxes_as_shares_of_the_image_are_refused(tmp_path: Path) -> None:
    message = refused(coco(tmp_path, shares))
    assert "12 boxes within the first pixel of their image (first: annotation 1000 of image 10, bbox [0.0" in message
    assert "multiply them by its width and height" in message


@pytest.mark.parametrize("corners", [(0.1, 0.2, 0.5, 0.6), (0, 0, 1, 1), (0.05, 0.95, 0.06, 0.96)])
def test_so_they_are_in_voc(corners: tuple[float, float, float, float], tmp_path: Path) -> None:
    write_voc(tmp_path, {"train": list("abcd")}, {name: [("dog", corners, 0)] for name in "abcd"})
    assert "4 boxes within the first pixel of their image" in refused(tmp_path)


def test_a_few_boxes_in_the_first_pixel_are_noted(tmp_path: Path) -> None:
    def change(tree: dict[str, Any]) -> None:
        tree["annotations"][2]["bbox"] = [0, 0, 1, 1]
        tree["annotations"][3]["bbox"] = [0, 0, 1, 2]

    (note,) = notes(coco(tmp_path, change))
    assert note.startswith("1 boxes within the first pixel of their image (first: annotation 2001 of image 20")


def test_in_an_image_of_a_pixel_boxes_are_small(tmp_path: Path) -> None:
    write_coco(tmp_path / "train.json", tmp_path / "train", tree_of([(1, 1, [(1, [0, 0, 1, 1])])] * 8))
    assert notes(tmp_path) == []


@pytest.mark.parametrize("bad_boxes", ["refuse", "drop", "clip"])
def test_labels_of_yolo_in_pixels_are_refused(bad_boxes: str, tmp_path: Path) -> None:
    images = {f"{split}/{name}.jpg": ["1 20 10 20 8"] for split in ("train", "val") for name in "abc"}
    write_yolo(tmp_path, images, DESCRIPTION)
    with pytest.raises(UserError, match=r"3 boxes far beyond their image, as if they were in pixels \(first: .*a.txt"):
        opened(tmp_path, bad_boxes=bad_boxes)


def crowd(tree: dict[str, Any]) -> None:
    for annotation in tree["annotations"]:
        annotation["iscrowd"] = 1


def test_that_all_boxes_are_crowds_is_said(tmp_path: Path) -> None:
    message = refused(coco(tmp_path, crowd))
    assert "the training set (6 images) holds no box but " in message and "that are crowd or difficult" in message
    assert f"(first: in {tmp_path}/train/" in message and "must be 0" in message


# Files that are passed over


def yolo(folder: Path) -> Path:
    images = {f"train/{name}.jpg": [BOX] for name in "abcdghijkl"} | {f"val/{name}.jpg": [BOX] for name in "ef"}
    return write_yolo(folder, images, DESCRIPTION)


def test_labels_that_belong_to_no_image_are_noted(tmp_path: Path) -> None:
    labels, images = yolo(tmp_path) / "labels" / "train", tmp_path / "images" / "train"
    assert notes(tmp_path) == []
    for name in ("classes.txt", "empty.txt", "README.txt", "._x.txt"):
        (labels / name).write_text("" if name == "empty.txt" else "cat\ndog\n")
    assert notes(tmp_path) == []
    (labels / "a.txt").rename(labels / "frame_a.txt")
    (labels / "deep").mkdir()
    (labels / "deep" / "b.txt").write_text("\n" + BOX)
    (images / "c.jpg").rename(images / "c.jfif")
    begin = [
        "1 images of kinds that are not read (first: {images}/c.jfif); convert them",
        "1 images without a file of labels, taken for images without objects (first: images/train/a.jpg)",
        "1 images without boxes (first: images/train/a.jpg",
        "3 files of labels that belong to no image (first: {labels}/c.txt, perhaps of c.jfif, whose kind",
    ]
    for note, start in zip(sorted(notes(tmp_path)), begin, strict=True):
        assert note.startswith(start.format(images=images, labels=labels))


def test_labels_of_another_split_are_not_left_over(tmp_path: Path) -> None:
    names = [f"{split}{number}" for split in ("train", "val") for number in range(4)]
    write_yolo(tmp_path, {f"{name}.jpg": [BOX] for name in names}, DESCRIPTION)
    for split in ("train", "val"):
        lines = [f"images\\{name}.JPG" for name in names if name.startswith(split)]  # as Windows writes it
        (tmp_path / f"{split}.txt").write_text("\r\n".join(lines))
    (tmp_path / "data.yaml").write_text("train: train.txt\nval: val.txt\nnames: [cat]")
    (note, _) = notes(tmp_path)
    assert note.startswith("4 images found by another name than the annotations have (first: images\\train0.JPG in ")


def test_labels_may_have_their_ending_in_capitals(tmp_path: Path) -> None:
    labels = yolo(tmp_path) / "labels" / "train"
    (labels / "a.txt").rename(labels / "a.TXT")
    assert notes(tmp_path) == [] and len(opened(tmp_path).train.boxes) == 10


def test_labels_of_another_case_are_not_taken_for_those_of_an_image(tmp_path: Path) -> None:
    labels = yolo(tmp_path) / "labels" / "train"
    (labels / "a.txt").rename(labels / "A.txt")
    assert f"1 files of labels that belong to no image (first: {labels}/A.txt)" in notes(tmp_path)
    shutil.copy(tmp_path / "images" / "train" / "a.jpg", tmp_path / "images" / "train" / "A.jpg")
    assert not any("belong to no image" in note for note in notes(tmp_path))


def test_linked_folders_are_read_in_yolo_and_voc(tmp_path: Path) -> None:
    for kind, store in (("images", "photos"), ("labels", "texts")):
        yolo(tmp_path / "yolo")
        shutil.move(tmp_path / "yolo" / kind / "train", tmp_path / store)
        (tmp_path / "yolo" / kind / "train").mkdir()
        (tmp_path / "yolo" / kind / "train" / "camera").symlink_to(tmp_path / store)
    (tmp_path / "yolo" / "data.yaml").write_text(DESCRIPTION.replace("images/train", "images\\train"))
    assert len(opened(tmp_path / "yolo").train.boxes) == 10
    for name in "abcdef":
        write_image(tmp_path / "xml", tmp_path / "jpg", name)
    for name, target in (("Annotations/camera", "xml"), ("JPEGImages/camera", "jpg")):
        (tmp_path / "voc" / name).parent.mkdir(parents=True)
        (tmp_path / "voc" / name).symlink_to(tmp_path / target)
    assert len(opened(tmp_path / "voc").train) + len(opened(tmp_path / "voc").val) == 6


def test_images_of_voc_without_annotations_are_noted(tmp_path: Path) -> None:
    for name in "abcdef":
        write_image(tmp_path / "Annotations", tmp_path / "JPEGImages", name)
    assert notes(tmp_path) == []
    (tmp_path / "Annotations" / "b.xml").unlink()
    (tmp_path / "Annotations" / "c.xml").rename(tmp_path / "Annotations" / "c.Xml")
    (note,) = notes(tmp_path)
    assert note == f"1 images without an XML file, not used (first: {tmp_path}/JPEGImages/b.jpg)"


def test_a_list_of_voc_may_name_images_as_windows_does(tmp_path: Path) -> None:
    write_voc(tmp_path, {"train": ["day 1/a", "day 1/b", "c"]})
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("day 1\\a\nday 1\\b.JPG\nc.jpg\n")
    data = opened(tmp_path)
    assert {file.name for part in (data.train, data.val) for file in part.files} == {"a.jpg", "b.jpg", "c.jpg"}


def test_another_name_in_the_xml_file_is_noted(tmp_path: Path) -> None:
    write_voc(tmp_path, {"train": list("abcd")})
    (tmp_path / "Annotations" / "b.xml").write_text(xml_of([DOG], "C:\\old\\frame.jpg"))
    (tmp_path / "Annotations" / "c.xml").write_text(xml_of([DOG], "C:\\old\\c.jpg"))
    (note,) = notes(tmp_path)
    assert note.startswith("1 images found by another name than the annotations have (first: C:\\old\\frame.jpg in ")


def test_a_set_of_voc_that_counts_from_0_is_noted(tmp_path: Path) -> None:
    boxes = {"a": [("dog", (0, 3, 9, 9), 0)], "b": [("dog", (1, 0, 23, 23), 0)]}
    write_voc(tmp_path, {"train": list("abcd")}, boxes)
    (note,) = notes(tmp_path)
    assert note.startswith("2 boxes begin at pixel 0: the set counts from 0, but VOC from 1")
    assert f"(first: {tmp_path}/Annotations/a.xml, object 1 (dog), bndbox 0 3 9 9)" in note


# Copies


def test_copies_are_files_of_equal_content(tmp_path: Path) -> None:
    whole = bytes(5 * PIECE)
    contents = {
        "a": whole,
        "first byte": b"x" + whole[1:],
        "last byte": whole[:-1] + b"x",
        "middle": whole[: 2 * PIECE] + b"x" + whole[2 * PIECE + 1 :],
        "shorter": whole[:-1],
        "b": b"",
        "again": whole,
        "c": b"",
        "d": b"x",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "link").symlink_to(tmp_path / "d")
    files = [tmp_path / name for name in (*contents, "link")]
    groups = [[files[index].name for index in group] for group in find_copies(files)]
    assert sorted(groups) == [["a", "again"], ["b", "c"], ["d", "link"]] and find_copies([]) == []


def test_images_that_were_cut_off_for_validation_may_be_copies_too(tmp_path: Path) -> None:
    write_coco(tmp_path / "train.json", tmp_path / "train", tree_of([(24, 24, [(1, [2, 2, 9, 9])])] * 10))
    data = opened(tmp_path)
    leaked, twice = map(str, data.shared)
    assert leaked.startswith("2 images of the validation set are training images under another name (first: train/")
    assert twice.startswith("7 images of the training set are there under another name too (first: train/")


def test_an_example_is_short(tmp_path: Path) -> None:
    image = Image.new("RGB", (24, 24))
    name = "/".join(["x" * 200] * 15)
    (tmp_path / "train" / name).parent.mkdir(parents=True)
    image.save(tmp_path / "train" / f"{name}.png")

    def change(tree: dict[str, Any]) -> None:
        tree["images"][0]["file_name"] = f"{name}.png"
        tree["annotations"] = tree["annotations"][1:]

    assert all(len(note) < 600 for note in notes(coco(tmp_path, change)))
