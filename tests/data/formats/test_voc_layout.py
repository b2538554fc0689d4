"""Where VOC sets are found, and which are taken for training and validation."""

from pathlib import Path

import pytest
from make_voc import DOG, write_image, write_voc

from detnas.config import DataSettings
from detnas.data.detection import Category
from detnas.data.splits import RunData, open_data, open_validation
from detnas.utils.errors import UserError

TRAINVAL_2007 = ["000001", "000002", "000003"]
TRAINVAL_2012 = ["2008_000001", "2008_000002", "2008_000004"]


def years(folder: Path, test: bool = True, secret: bool = False) -> Path:
    """VOC2007 and VOC2012 in small."""
    lists = {"train": ["000001", "000002"], "val": ["000003"], "trainval": TRAINVAL_2007}
    write_voc(folder / "VOC2007", lists | ({"test": ["000008", "000009"]} if test else {}))
    later = {"train": ["2008_000001", "2008_000004"], "val": ["2008_000002"], "trainval": TRAINVAL_2012}
    write_voc(folder / "VOC2012", later)
    if secret:
        (folder / "VOC2012/ImageSets/Main/test.txt").write_text("2008_000077\n")
    return folder


def opened(folder: Path, **settings: object) -> RunData:
    return open_data(folder, DataSettings(**settings), seed=0)


def names(data: RunData) -> tuple[list[str], list[str]]:
    """Of the images to train and to validate on."""
    return [file.stem for file in data.train.files], [file.stem for file in data.val.files]


@pytest.mark.parametrize("below", [".", "VOCdevkit"])
def test_all_years_are_trained_on_and_the_test_set_of_2007_validates(below: str, tmp_path: Path) -> None:
    years(tmp_path / below, secret=True)
    data = opened(tmp_path)
    assert names(data) == ([*TRAINVAL_2007, *TRAINVAL_2012], ["000008", "000009"])
    assert data.train.image_ids == (1, 2, 3, 2008000001, 2008000002, 2008000004)
    assert data.description.startswith("VOC: ") and not data.val_is_cut
    assert data.train.files[4] == tmp_path / below / "VOC2012/JPEGImages/2008_000002.jpg"


def test_without_a_test_set_val_validates_and_train_trains(tmp_path: Path) -> None:
    years(tmp_path, test=False, secret=True)
    assert names(opened(tmp_path)) == (["000001", "000002", "2008_000001", "2008_000004"], ["000003", "2008_000002"])
    assert names(opened(tmp_path / "VOC2012")) == (["2008_000001", "2008_000004"], ["2008_000002"])


def test_the_sets_that_the_recipe_names_are_taken(tmp_path: Path) -> None:
    years(tmp_path / "VOCdevkit")
    both = ["VOC2007/trainval", "VOC2012/trainval"]
    assert names(opened(tmp_path, train=both, val="VOC2007/test"))[0] == [*TRAINVAL_2007, *TRAINVAL_2012]
    assert names(opened(tmp_path / "VOCdevkit", train="VOC2012/train", val=["VOC2007/val", "VOC2012/val"])) == (
        ["2008_000001", "2008_000004"],
        ["000003", "2008_000002"],
    )
    assert names(opened(tmp_path, train="VOC2007/trainval")) == (TRAINVAL_2007, ["000008", "000009"])
    assert names(opened(tmp_path / "VOCdevkit/VOC2007", train="trainval", val="test"))[1] == ["000008", "000009"]


def test_what_the_recipe_does_not_name_shares_no_image_with_what_it_does(tmp_path: Path) -> None:
    years(tmp_path)
    train, val = names(opened(tmp_path, val=["VOC2007/val", "VOC2012/val"]))
    assert (train, val) == (["000001", "000002", "2008_000001", "2008_000004"], ["000003", "2008_000002"])
    years(tmp_path / "less", test=False)
    train, val = names(opened(tmp_path / "less", train=["VOC2007/trainval", "VOC2012/trainval"]))
    assert len(train) == 5 and len(val) == 1  # cut from what is named


def test_sets_that_share_images_are_refused(tmp_path: Path) -> None:
    years(tmp_path)
    with pytest.raises(UserError, match=r"VOC2007/ImageSets/Main/val.txt: 1 of its images are also trained on .*0003"):
        opened(tmp_path, train="VOC2007/trainval", val="VOC2007/val")
    with pytest.raises(UserError, match=r"train.txt: .*000001.jpg is in .*trainval.txt too"):
        opened(tmp_path, train=["VOC2007/trainval", "VOC2007/train"])


def test_a_set_that_is_not_there_is_refused(tmp_path: Path) -> None:
    years(tmp_path)
    with pytest.raises(UserError, match=r"VOC2007/ImageSets/Main/tset.txt: .* \(there: test, train, trainval, val\)"):
        opened(tmp_path, val="VOC2007/tset")
    with pytest.raises(UserError, match=r"VOC2099/trainval: cannot be read"):
        opened(tmp_path, train="VOC2099/trainval")


# What labeling tools export


def test_a_tree_of_ones_own(tmp_path: Path) -> None:
    lists = {"train": ["a", "b"], "val": ["c", "d"], "test": ["e", "f"]}
    assert names(opened(write_voc(tmp_path / "three", lists))) == (["a", "b"], ["c", "d"])
    del lists["val"]
    assert names(opened(write_voc(tmp_path / "two", lists))) == (["a", "b"], ["e", "f"])


@pytest.mark.parametrize(
    ("annotations", "images"), [("Annotations", "images"), ("annotations", "images"), (".", "."), (".", "images")]
)
def test_without_lists_all_are_taken_and_validation_is_cut(annotations: str, images: str, tmp_path: Path) -> None:
    write_voc(tmp_path / "own", {}, annotations=annotations, images=images)
    for name in "abcdefghij":
        write_image(tmp_path / "own" / annotations, tmp_path / "own" / images, name)
    data = opened(tmp_path / "own")
    train, val = names(data)
    assert len(train) == 8 and len(val) == 2 and sorted(train + val) == list("abcdefghij") and data.val_is_cut
    named = opened(tmp_path, train="own")
    assert names(named) == (train, val)


def test_a_list_of_all_as_cvat_writes_it(tmp_path: Path) -> None:
    write_voc(tmp_path, {"default": [f"day 1/{name}" for name in "abcd"]})
    data = opened(tmp_path)
    assert len(data.train) == 3 and len(data.val) == 1
    assert (tmp_path / "JPEGImages" / "day 1" / "a.jpg") in (*data.train.files, *data.val.files)


def test_a_folder_for_each_split_as_roboflow_writes_it(tmp_path: Path) -> None:
    for split, images in (("train", "abc"), ("valid", "de"), ("test", "f")):
        for name in images:
            write_image(tmp_path / split, tmp_path / split, name)
    assert names(opened(tmp_path)) == (["a", "b", "c"], ["d", "e"])
    assert names(opened(tmp_path, val="test")) == (["a", "b", "c"], ["f"])


def test_images_may_lie_elsewhere(tmp_path: Path) -> None:
    write_voc(tmp_path, {"train": ["a", "b", "c"], "val": ["d"]})
    (tmp_path / "JPEGImages").rename(tmp_path / "mine")
    data = opened(tmp_path, train_images="mine", val_images="mine")
    assert data.train.files[0] == tmp_path / "mine" / "a.jpg"


# The validation set alone


def test_only_the_validation_set_is_read_and_its_categories_are_the_detectors(tmp_path: Path) -> None:
    cat = [("cat", (2, 2, 9, 9), 0)]
    write_voc(
        tmp_path, {"trainval": ["1", "2"], "test": ["3"]}, {"1": [DOG], "2": [("pen", (2, 2, 9, 9), 0)], "3": cat}
    )
    for file in ("1.xml", "2.xml"):
        (tmp_path / "Annotations" / file).write_text("<")
    known = (Category(1, "cat"), Category(2, "dog"), Category(3, "pen"))
    data = open_validation(tmp_path, DataSettings(), 0, known)
    assert data.categories == known and data.labels.tolist() == [0] and data.files[0].name == "3.jpg"
    assert open_validation(tmp_path, DataSettings(), 0, known[1:]).categories == (Category(8, "cat"),)
    assert len(open_validation(tmp_path, DataSettings(train="trainval"), 0)) == 1


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_validation_set_needs_no_training_set(split: str, tmp_path: Path) -> None:
    write_voc(tmp_path, {split: ["3", "4"]})
    write_image(tmp_path / "Annotations", tmp_path / "JPEGImages", "5")
    assert [file.stem for file in open_validation(tmp_path, DataSettings(), 0).files] == ["3", "4"]
    with pytest.raises(UserError, match=r"data\.train"):
        opened(tmp_path)
