"""YOLO data sets: where they are found, what they become, and what is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from make_coco import some_images, tree_of, write_coco
from make_yolo import write_yolo
from PIL import Image

from detnas.config import DataSettings
from detnas.data.check import check
from detnas.data.detection import Category
from detnas.data.formats.discovery import find_sources
from detnas.data.images import Images
from detnas.data.packing import pack
from detnas.data.splits import RunData, open_data, open_validation
from detnas.utils.errors import UserError
from detnas.utils.progress import Progress

BOX = "0 0.5 0.5 0.5 0.5"
IMAGES = {
    "train/a.jpg": ["0 0.5 0.5 0.5 0.5", "", "2 0.1 0.25 0.2 0.5"],
    "train/b.jpg": None,
    "train/deep er/c.jpg": ["1.0\t0.25 0.5 .5 1"],
    "train/d.jpg": [],
    "val/e.jpg": [BOX],
}
YAML = "train: images/train\nval: images/val\nnc: 3\nnames: [cat, dog, no]\n"


def opened(folder: Path, **settings: object) -> RunData:
    return open_data(folder, DataSettings(**settings), seed=0)


def names(data: RunData) -> tuple[list[str], list[str]]:
    """Of the images to train and to validate on."""
    return [file.name for file in data.train.files], [file.name for file in data.val.files]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_yolo(tmp_path / "set", IMAGES, YAML)


# What is read


def test_shares_become_pixels(folder: Path) -> None:
    data = opened(folder).train
    assert [file.relative_to(folder / "images").as_posix() for file in data.files] == [
        *("train/a.jpg", "train/b.jpg", "train/d.jpg", "train/deep er/c.jpg")
    ]
    assert data.sizes.tolist() == [[40, 20]] * 4 and data.image_ids == (1, 2, 3, 4)
    assert data.boxes == pytest.approx(np.array([[10, 5, 20, 10], [0, 0, 8, 10], [0, 0, 20, 20]]))
    assert data.labels.tolist() == [0, 2, 1] and data.starts.tolist() == [0, 2, 2, 2, 3]
    assert data.categories == (Category(0, "cat"), Category(1, "dog"), Category(2, "no"))
    assert data.areas == pytest.approx([200, 80, 400]) and not data.crowd.any()


def test_the_description_says_what_was_found(folder: Path) -> None:
    data = opened(folder)
    assert data.description == f"YOLO: {folder / 'data.yaml'}" and not data.val_is_cut
    lines, checked = check(folder, DataSettings(), Progress(quiet=True))
    assert checked is not None and lines[0] == f"train: YOLO, {folder}/data.yaml, images under {folder}"
    assert "4 images, 3 boxes, 3 categories" in lines[1] and "cat 1, dog 1, no 1" in lines[2]
    assert any("2 images without boxes (first: images/train/b.jpg, image id 2)" in line for line in lines)


def test_a_polygon_becomes_its_bounding_box(folder: Path) -> None:
    (folder / "labels/train/a.txt").write_text("1 0.25 0.5 0.75 0.1 0.5 0.9\n2 0 0 1 0 1 1 0 1\n")
    data = opened(folder).train
    assert data.boxes[:2] == pytest.approx(np.array([[10, 2, 20, 16], [0, 0, 40, 20]]))
    assert data.labels[:2].tolist() == [1, 2]


def test_an_image_is_turned_as_viewers_show_it(folder: Path) -> None:
    """As Ultralytics does: the fractions are of the rotated image."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:5, :10] = 255  # top left; after a rotation by 90 degrees, top right
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(folder / "images/train/a.png", exif=exif)
    (folder / "images/train/a.jpg").unlink()
    (folder / "labels/train/a.txt").write_text("0 0.875 0.125 0.25 0.25\n")
    data = opened(folder).train
    assert data.sizes[0].tolist() == [20, 40] and data.boxes[0].tolist() == [15, 0, 5, 10]
    image = Images(data.files, 0, data.sizes)[0]
    assert image.shape == (3, 40, 20)
    assert (image[:, :10, 15:] == 255).all() and image.sum() == 3 * 50 * 255
    lines, _ = check(folder, DataSettings(), Progress(quiet=True))
    assert any(
        "1 images with an EXIF orientation, read as viewers show them (first: images/train/a.png" in line
        for line in lines
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("names: {0: cat, 2: no, 1: dog}", ["cat", "dog", "no"]),
        ("names:\n  - yes\n  - 7\n  - on", ["yes", "7", "on"]),
        ("nc: 3", ["class 0", "class 1", "class 2"]),
        ("names: {0: cat, 1: dog, 2: no, 9: far}", ["cat", "dog", "no", "far"]),
    ],
)
def test_names_may_be_a_list_or_numbered_or_missing(text: str, expected: list[str], folder: Path) -> None:
    (folder / "data.yaml").write_text(f"\ufefftrain: images/train\nval: images/val\n{text}\n", encoding="utf-8")
    categories = opened(folder).train.categories
    assert [category.name for category in categories] == expected
    assert [category.id for category in categories] == [0, 1, 2, 9][: len(expected)]


def test_labels_may_lie_beside_the_images(folder: Path) -> None:
    shutil.move(folder / "images" / "train", folder / "mine")
    shutil.move(folder / "labels" / "train" / "a.txt", folder / "mine" / "a.txt")
    (folder / "data.yaml").write_text(YAML.replace("images/train", "mine"))
    (source,) = find_sources(folder, DataSettings())["train"]
    assert len(pack(source.tree, source.images).boxes) == 2


def test_the_last_folder_called_images_is_that_of_the_labels(tmp_path: Path) -> None:
    folder = write_yolo(tmp_path / "images" / "set", IMAGES, YAML)
    assert len(opened(folder).train.boxes) == 3


# Where it is found


@pytest.mark.parametrize("name", ["data.yml", "dataset.yaml", "mine.yaml"])
def test_the_file_may_have_another_name(name: str, folder: Path) -> None:
    (folder / "data.yaml").rename(folder / name)
    (folder / "args.yaml").write_text("train: 3\n")
    (folder / "broken.yaml").write_text("[")
    assert opened(folder).description == f"YOLO: {folder / name}"


@pytest.mark.parametrize("path", [".", "", "/content/somewhere/else", "../set", "../set/"])
def test_path_is_where_the_file_lies_unless_it_is_there(path: str, folder: Path) -> None:
    (folder / "data.yaml").write_text(f"path: {path}\n{YAML}")
    assert len(opened(folder).train) == 4


def test_path_may_lead_elsewhere(folder: Path, tmp_path: Path) -> None:
    (folder / "data.yaml").rename(tmp_path / "data.yaml")
    (tmp_path / "data.yaml").write_text(f"path: set\n{YAML}")
    assert len(opened(tmp_path).train) == 4


def test_the_layout_of_roboflow(folder: Path, tmp_path: Path) -> None:
    for split, other in (("train", "train"), ("val", "valid")):
        (tmp_path / "robo" / other).mkdir(parents=True)
        for kind in ("images", "labels"):
            shutil.move(folder / kind / split, tmp_path / "robo" / other / kind)
    text = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 3\nnames: ['cat', 'dog', 'no']\n"
    (tmp_path / "robo" / "data.yaml").write_text(text)
    data = opened(tmp_path / "robo")
    assert len(data.train.boxes) == 3 and len(data.val) == 1


def test_a_split_may_be_several_folders_or_a_list_of_files(folder: Path) -> None:
    lists = [
        "train: [images/train/deep er, images/val]\nval: images/train",
        "train: some.txt\nval: [images/val]",
    ]
    lines = ["./images/train/a.jpg", "images/train/d.jpg", "", str(folder / "images/train/b.jpg"), "images/train/d.jpg"]
    (folder / "some.txt").write_text("\r\n".join(lines))
    (folder / "data.yaml").write_text(f"{lists[0]}\nnames: [cat, dog, no]")
    with pytest.raises(UserError, match=r"1 of its images are also trained on \(first: .*c.jpg\)"):
        opened(folder)
    (folder / "data.yaml").write_text(f"{lists[1]}\nnames: [cat, dog, no]")
    (source,) = find_sources(folder, DataSettings())["train"]
    assert [Path(image["file_name"]).name for image in source.tree["images"]] == ["a.jpg", "d.jpg", "b.jpg"]


def test_without_val_the_test_set_validates_if_it_has_labels(folder: Path) -> None:
    (folder / "data.yaml").write_text(YAML.replace("val:", "test:"))
    assert names(opened(folder))[1] == ["e.jpg"]
    for text in (
        YAML.replace("val:", "test:").replace("images/val", "nowhere"),
        YAML.replace("val: images/val", "val:"),
    ):
        for number in range(6):
            shutil.copy(folder / "images/train/a.jpg", folder / f"images/train/more{number}.jpg")
            shutil.copy(folder / "labels/train/a.txt", folder / f"labels/train/more{number}.txt")
        (folder / "data.yaml").write_text(text)
        assert opened(folder).val_is_cut
    (folder / "data.yaml").write_text(YAML.replace("val:", "test:"))
    (folder / "labels/val/e.txt").unlink()
    assert opened(folder).val_is_cut


def test_the_recipe_may_name_the_file(folder: Path, tmp_path: Path) -> None:
    (folder / "data.yaml").rename(folder / "other.yaml")
    write_coco(folder / "train.json", folder / "images" / "train", tree_of(some_images(10)))
    assert opened(folder).description.startswith("COCO: ")
    for settings in ({"train": "other.yaml"}, {"train": "other.yaml", "val": "other.yaml"}, {"val": "other.yaml"}):
        data = opened(folder, **settings)
        assert data.description == f"YOLO: {folder / 'other.yaml'}" and names(data)[1] == ["e.jpg"]
    away = opened(tmp_path, train=str(folder / "other.yaml"))
    assert len(away.train) == 14 and len(away.val) == 1  # those that were written for COCO lie there too


# What is refused


def refused(folder: Path, **settings: object) -> str:
    with pytest.raises(UserError) as refusal:
        opened(folder, **settings)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("3 0.5 0.5 0.5 0.5", "class 3 has no name in {folder}/data.yaml (named: 3, up to 2)"),
        ("-1 0.5 0.5 0.5 0.5", "class -1 has no name"),
        ("0.5 0.5 0.5 0.5 0.5", "class 0.5 has no name"),
        ("0 0.5 0.5 0.5", "4 numbers; write class, x, y, width, height"),
        ("0 0.5 0.5 0.5 0.5 0.9", "6 numbers"),
        ("0 0.5 0.5 0.5 0.5 0.9 0.2 0.4", "8 numbers"),
        ("0", "1 numbers"),
        ("cat 0.5 0.5 0.5 0.5", "'cat' is no number"),
        ("0 0.5 nan 0.5 0.5", "'nan' is no number"),
        ("0 0.5 1e999 0.5 0.5", "'1e999' is no number"),
        ("0,0.5,0.5,0.5,0.5", "'0,0.5,0.5,0.5,0.5' is no number"),
    ],
)
def test_labels_that_are_none_are_refused(line: str, words: str, folder: Path) -> None:
    file = folder / "labels/train/a.txt"
    file.write_text(f"{BOX}\n\n{line}\n")
    message = refused(folder)
    assert message.startswith(f"{file}, line 3: ") and words.format(folder=folder) in message
    assert refused(folder, bad_boxes="drop") == message


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 20 10 20 10", "1 boxes outside their image (first: {file}, line 1: 10 to 30 of the width, 5 to 15 of"),
        ("0 0.5 0.5 1.2 0.5", "1 boxes outside their image (first: {file}, line 1: -0.1 to 1.1 of the width"),
        ("0 0.2 0.5 0.5 0.5", "1 boxes outside their image"),
        ("0 0.1 0.1 0.2 0.3 0.4 1.2", "1 boxes outside their image"),
        ("0 0.5 0.5 0 0.5", "1 boxes without area (first: {file}, line 1"),
        ("0 0.5 0.5 -0.2 0.5", "1 boxes without area"),
        ("0 0.1 0.1 0.1 0.5 0.1 0.9", "1 boxes without area"),
    ],
)
def test_bad_boxes_are_refused_or_dropped(line: str, words: str, folder: Path) -> None:
    file = folder / "labels/train/a.txt"
    file.write_text(f"{line}\n{BOX}\n")
    message = refused(folder)
    assert message.startswith(f"{folder / 'data.yaml'}: ") and words.format(file=file) in message
    assert "data.bad_boxes=drop" in message
    assert len(opened(folder, bad_boxes="drop").train.boxes) == 2


@pytest.mark.parametrize("line", ["0 0.5 0.5 1.04 1.09", "0 1 0.5 0.04 0.5", "0 0.5 0.5 1 1"])
def test_boxes_may_reach_a_pixel_beyond_their_image(line: str, folder: Path) -> None:
    (folder / "labels/train/a.txt").write_text(line)
    corners, _ = opened(folder).train.training_boxes(0)
    assert (corners >= 0).all() and (corners <= [40, 20, 40, 20]).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a YOLO data.yaml"),
        ("- a", "not a YOLO data.yaml"),
        ("names: [", "not YAML ("),
        ("[" * 5000, "not YAML (it is nested too deep)"),
        ("train: images/train\nval: images/val", "names: no class is named"),
        ("train: images/train\nnames: []", "names: no class is named"),
        ("train: images/train\nnames: cat", "names: no class is named"),
        ("train: images/train\nnames: [[cat]]", "names has no name for each class"),
        ("train: images/train\nnames: {a: cat}", "names has no name for each class"),
        ("train: images/train\nnames: {0: cat, 00: dog}", "names has no name for each class"),
        (YAML.replace("nc: 3", "nc: 4"), "nc is 4, but names has 3"),
        (YAML.replace("nc: 3", "nc: many"), "nc is not a number of classes"),
        ("train: images/train\nnc: 999999999", "nc is not a number of classes"),
        (YAML.replace("images/train", "images/nowhere"), "train: images/nowhere: there is no {folder}/images/nowhere;"),
        (YAML.replace("images/val", "../elsewhere/images"), "val: ../elsewhere/images: there is no"),
        (YAML.replace("images/val", "labels/val"), "val: {folder}/labels/val has no image"),
        (YAML.replace("images/val", "{{a: b}}"), "val is neither a folder nor a list"),
        (YAML.replace("images/val", "[images/val, [a]]"), "val is neither a folder nor a list"),
        (YAML + "kpt_shape: [17, 3]", "kpt_shape: these labels are poses"),
    ],
)
def test_broken_descriptions_are_refused(text: str, words: str, folder: Path) -> None:
    (folder / "data.yaml").write_text(text.replace("{{", "{").replace("}}", "}"))
    message = refused(folder)
    assert message.startswith(f"{folder}/data.yaml: ") and words.format(folder=folder) in message


def test_files_that_are_no_text_are_refused(folder: Path) -> None:
    (folder / "labels/train/a.txt").write_bytes(b"0 \xff\xfe")
    assert refused(folder).startswith(f"{folder / 'labels/train/a.txt'}: not labels")
    (folder / "some.txt").write_bytes(b"\xff\xfe\x80")
    (folder / "data.yaml").write_text(YAML.replace("images/train", "some.txt"))
    assert refused(folder).startswith(f"{folder / 'some.txt'}: not a list of images")
    (folder / "data.yaml").write_bytes(b"\xff\xff\x80")
    assert "data.yaml: not YAML" in refused(folder)


def test_images_that_cannot_be_read_are_counted(folder: Path) -> None:
    (folder / "images/train/a.jpg").write_bytes(b"")
    file = folder / "images/train/b.jpg"
    file.write_bytes(file.read_bytes()[:-20])
    message = refused(folder)
    assert message.startswith(
        f"{folder}/data.yaml: 2 of its images cannot be read (first: {folder}/images/train/a.jpg,"
    )
    (folder / "some.txt").write_text("images/train/d.jpg\nimages/train/lost.jpg\n")
    (folder / "data.yaml").write_text(YAML.replace("images/train", "some.txt"))
    assert f"(first: {folder}/images/train/lost.jpg, there is no such file)" in refused(folder)


def test_images_without_any_label_are_refused(folder: Path) -> None:
    shutil.rmtree(folder / "labels" / "train")
    assert "none of its 4 images under" in refused(folder)


def test_a_file_that_the_recipe_names_must_be_there_and_have_the_split(folder: Path) -> None:
    assert "nowhere.yaml: cannot be read" in refused(folder, train="nowhere.yaml")
    (folder / "data.yaml").write_text(YAML.replace("val:", "other:"))
    assert f"{folder / 'data.yaml'}: has no 'val'" in refused(folder, val="data.yaml")
    (folder / "data.yaml").write_text(YAML.replace("train:", "other:"))
    assert f"{folder / 'data.yaml'}: has no 'train'" in refused(folder)
    assert len(open_validation(folder, DataSettings(), 0)) == 1


def test_a_missing_folder_can_be_named_by_the_recipe(folder: Path) -> None:
    (folder / "images/train").rename(folder / "images/tr")
    (folder / "labels/train").rename(folder / "labels/tr")
    assert "name the folder by data.train_images" in refused(folder)
    assert len(opened(folder, train_images="images/tr").train) == 4
