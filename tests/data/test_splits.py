"""Finding a data set's files, and cutting the search split."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_coco import some_images, tree_of, write_coco

from detnas.config import DataSettings
from detnas.data.formats.discovery import find_sources
from detnas.data.splits import RunData, open_data, open_validation
from detnas.utils.errors import UserError

TRAIN, VAL = tree_of(some_images(20)), tree_of(some_images(6))
for image in VAL["images"]:
    image["id"] += 5000
    image["file_name"] = f"val{image['file_name']}"
for annotation in VAL["annotations"]:
    annotation["image_id"] += 5000

CROWD = {"id": 1, "image_id": 10, "category_id": 1, "bbox": [1, 1, 9, 9], "iscrowd": 1}

# Usual layouts: annotations and images of both splits.
LAYOUTS = {
    "plain": ("train.json", "train", "val.json", "val"),
    "plain-images": ("train.json", "images", "val.json", "images"),
    "images-by-split": ("train.json", "images/train", "val.json", "images/val"),
    "coco": ("annotations/instances_train2017.json", "train2017", "annotations/instances_val2017.json", "val2017"),
    "coco-images": (
        "annotations/instances_train2017.json",
        "images/train2017",
        "annotations/instances_val2017.json",
        "images/val2017",
    ),
    "annotations": ("annotations/train.json", "train", "annotations/val.json", "val"),
    "roboflow": ("train/_annotations.coco.json", "train", "valid/_annotations.coco.json", "valid"),
    "flat": ("instances_train.json", ".", "instances_val.json", "."),
}


def write_layout(directory: Path, layout: str, splits: tuple[str, ...] = ("train", "val")) -> None:
    train_json, train_images, val_json, val_images = LAYOUTS[layout]
    if "train" in splits:
        write_coco(directory / train_json, directory / train_images, TRAIN)
    if "val" in splits:
        write_coco(directory / val_json, directory / val_images, VAL)


def ids(data: RunData) -> dict[str, set[int]]:
    return {name: set(getattr(data, name).image_ids) for name in ("train", "fit", "search", "val")}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("plain")
    write_layout(directory, "plain")
    return directory


@pytest.mark.parametrize("layout", LAYOUTS)
def test_usual_layouts_are_found_by_themselves(layout: str, tmp_path: Path) -> None:
    write_layout(tmp_path, layout)
    train_json, train_images, val_json, val_images = LAYOUTS[layout]
    sources = find_sources(tmp_path, DataSettings())
    assert sources["train"][0].annotations == tmp_path / train_json
    assert sources["train"][0].images == tmp_path / train_images
    assert sources["val"][0].annotations == tmp_path / val_json
    assert sources["val"][0].images == tmp_path / val_images
    data = open_data(tmp_path, DataSettings(), seed=0)
    assert len(data.train) == 20 and len(data.val) == 6
    assert all(file.is_file() for file in (*data.train.files, *data.val.files))
    assert str(tmp_path / train_json) in data.description and str(tmp_path / val_json) in data.description


def test_the_test_set_stands_in_where_there_is_no_validation_set(tmp_path: Path) -> None:
    write_layout(tmp_path, "plain", ("train",))
    write_coco(tmp_path / "test.json", tmp_path / "test", VAL)
    assert find_sources(tmp_path, DataSettings())["val"][0].annotations == tmp_path / "test.json"
    write_coco(tmp_path / "valid.json", tmp_path / "valid", VAL)
    assert find_sources(tmp_path, DataSettings())["val"][0].annotations == tmp_path / "valid.json"


@pytest.mark.parametrize("name", ["annotations.json", "instances.json", "_annotations.coco.json", "train.json"])
def test_from_a_single_file_a_validation_set_is_set_aside(name: str, tmp_path: Path) -> None:
    write_coco(tmp_path / name, tmp_path / "images", TRAIN)
    assert set(find_sources(tmp_path, DataSettings())) == {"train"}
    data = open_data(tmp_path, DataSettings(val_fraction=0.25), seed=0)
    assert len(data.val) == 5 and len(data.train) == 15
    found = ids(data)
    assert not found["val"] & found["train"] and found["val"] | found["train"] == {i["id"] for i in TRAIN["images"]}
    assert "5 images of it set aside" in data.description


def test_the_recipe_names_files_that_lie_elsewhere(tmp_path: Path) -> None:
    write_layout(tmp_path, "plain")
    odd = tree_of(some_images(10))
    write_coco(tmp_path / "mine" / "a.json", tmp_path / "photos", odd)
    settings = DataSettings(train="mine/a.json", train_images="photos", val="val.json")
    sources = find_sources(tmp_path, settings)
    assert sources["train"][0].annotations == tmp_path / "mine" / "a.json"
    assert sources["train"][0].images == tmp_path / "photos"
    assert sources["val"][0].images == tmp_path / "val"
    assert len(open_data(tmp_path, settings, seed=0).train) == 10
    (tmp_path / "mine" / "a.json").rename(tmp_path / "mine" / "a.labels")  # JSON, whatever it is called
    assert len(open_data(tmp_path, settings.model_copy(update={"train": "mine/a.labels"}), seed=0).train) == 10
    absolute = DataSettings(train=str(tmp_path / "mine" / "a.labels"), train_images=str(tmp_path / "photos"))
    assert find_sources(tmp_path / "val", absolute)["train"][0].images == tmp_path / "photos"


# The validation set alone


def test_no_validation_set_and_nothing_to_cut_it_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is empty"):
        open_validation(tmp_path, DataSettings(), 0)
    write_coco(tmp_path / "val.json", tmp_path / "val", tree_of([(24, 24, [])]) | {"annotations": [CROWD]})
    with pytest.raises(UserError, match=r"validation .* holds no box"):
        open_validation(tmp_path, DataSettings(), 0)


# Several files


def test_several_files_are_one_set(tmp_path: Path) -> None:
    write_layout(tmp_path, "coco")
    later = tree_of(some_images(4))
    write_coco(tmp_path / "annotations" / "more.json", tmp_path / "more", later)
    names = ["annotations/instances_train2017.json", "annotations/more.json"]
    data = open_data(tmp_path, DataSettings(train=names), seed=0).train
    assert len(data) == 24 and data.files[0].parent.name == "train2017" and data.files[23].parent.name == "more"
    assert data.image_ids == tuple(range(1, 25))  # for both files count from 10
    one, two = (open_data(tmp_path, DataSettings(train=name), seed=0).train for name in names)
    for index, (part, place) in enumerate([*((one, i) for i in range(20)), *((two, i) for i in range(4))]):
        for mine, theirs in zip(data.training_boxes(index), part.training_boxes(place), strict=True):
            assert np.array_equal(mine, theirs)
    val = open_data(tmp_path, DataSettings(val=["annotations/instances_val2017.json", "annotations/more.json"]), 0).val
    assert val.image_ids == (*(5000 + 10 * n for n in range(1, 7)), 10, 20, 30, 40)


def test_files_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    write_layout(tmp_path, "plain")
    write_coco(tmp_path / "b.json", tmp_path / "b", tree_of(some_images(4), categories=(1, 2, 3, 4)))
    shutil.copy(tmp_path / "train.json", tmp_path / "c.json")
    assert "b.json: its categories differ" in refused(tmp_path, DataSettings(train=["train.json", "b.json"]))
    same = refused(tmp_path, DataSettings(train=["train.json", "c.json"], train_images="train"))
    assert "c.json: " in same and f"10.png is in {tmp_path / 'train.json'} too" in same
    assert "20 of its images are also trained on" in refused(tmp_path, DataSettings(val="c.json", val_images="train"))


# Refusals


def refused(directory: Path, settings: DataSettings | None = None) -> str:
    with pytest.raises(UserError) as refusal:
        open_data(directory, settings or DataSettings(), seed=0)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_a_folder_without_a_data_set_is_refused(tmp_path: Path) -> None:
    missing = refused(tmp_path / "nowhere")
    assert f"{tmp_path / 'nowhere'}: no such folder" in missing and "name the folder" in missing
    assert f"{tmp_path}: the folder is empty" in refused(tmp_path) and "train.json" in refused(tmp_path)
    (tmp_path / "a.png").touch()
    assert "no COCO file, YOLO data.yaml or VOC tree that is found by itself" in refused(
        tmp_path
    ) and "data.train" in refused(tmp_path)
    assert "no such folder" in refused(tmp_path / "a.png")


def test_files_and_folders_that_the_recipe_names_must_be_there(plain: Path) -> None:
    message = refused(plain, DataSettings(train="nowhere.json"))
    assert message.startswith(f"{plain / 'nowhere.json'}: cannot be read") and "data.train" in message
    message = refused(plain, DataSettings(train_images="nowhere"))
    assert "20 images that are not under" in message and "data.train_images" in message
    assert str(plain / "val.json") in refused(plain, DataSettings(val_images="train"))


def spoil_val(tree: dict[str, Any]) -> None:
    tree["annotations"][0]["bbox"] = [0, 0, 99, 99]


def other_categories(tree: dict[str, Any]) -> None:
    tree["categories"][0]["name"] = "other"


def no_boxes(tree: dict[str, Any]) -> None:
    tree["annotations"] = []


@pytest.mark.parametrize(
    ("change", "words"),
    [(spoil_val, "data.bad_boxes"), (other_categories, "same ids and names"), (no_boxes, "without a single box")],
)
def test_the_validation_set_is_checked_too(
    change: Callable[[dict[str, Any]], None], words: str, plain: Path, tmp_path: Path
) -> None:
    shutil.copytree(plain, tmp_path / "data")
    tree = json.loads((tmp_path / "data" / "val.json").read_text())
    change(tree)
    (tmp_path / "data" / "val.json").write_text(json.dumps(tree))
    message = refused(tmp_path / "data")
    assert message.startswith(f"{tmp_path / 'data' / 'val.json'}: ") and words in message


def test_bad_boxes_are_dropped_where_the_recipe_says_so(plain: Path, tmp_path: Path) -> None:
    shutil.copytree(plain, tmp_path / "data")
    for name in ("train.json", "val.json"):
        tree = json.loads((tmp_path / "data" / name).read_text())
        spoil_val(tree)
        (tmp_path / "data" / name).write_text(json.dumps(tree))
    assert "data.bad_boxes=drop" in refused(tmp_path / "data")
    before, after = (open_data(folder, DataSettings(bad_boxes="drop"), 0) for folder in (plain, tmp_path / "data"))
    assert len(after.train.boxes) == len(before.train.boxes) - 1
    assert len(after.val.boxes) == len(before.val.boxes) - 1
    assert before.fingerprint() != after.fingerprint()


def test_splits_without_boxes_are_refused(tmp_path: Path) -> None:
    one_box = tree_of([(24, 24, [(1, [2, 2, 9, 9])]), *[(24, 24, [])] * 9])
    write_coco(tmp_path / "train.json", tmp_path / "train", one_box)
    write_layout(tmp_path, "plain", ("val",))
    assert "holds no box; more images are needed" in refused(tmp_path)
    write_coco(tmp_path / "train.json", tmp_path / "train", tree_of(some_images(1)))
    assert "holds no box" in refused(tmp_path)


def test_splits_with_nothing_but_crowds_are_refused(tmp_path: Path) -> None:
    # Crowds are neither trained on nor evaluated.
    crowded = tree_of(some_images(10))
    for annotation in crowded["annotations"]:
        annotation["iscrowd"] = 1
    write_coco(tmp_path / "train.json", tmp_path / "train", crowded)
    write_layout(tmp_path, "plain", ("val",))
    assert "holds no box" in refused(tmp_path)


# The search split


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.99])
def test_the_search_split_is_cut_from_the_training_set(fraction: float, plain: Path) -> None:
    data = open_data(plain, DataSettings(search_fraction=fraction), seed=0)
    found = ids(data)
    assert not found["fit"] & found["search"]
    assert found["fit"] | found["search"] == found["train"] == {image["id"] for image in TRAIN["images"]}
    assert len(data.fit) + len(data.search) == len(data.train)
    assert len(data.search) == min(max(1, round(20 * fraction)), 19)
    assert found["val"] == {image["id"] for image in VAL["images"]}
    assert not found["val"] & found["train"]


def test_the_search_split_can_be_a_number_of_images(plain: Path) -> None:
    for images in (1, 7, 19):
        data = open_data(plain, DataSettings(search_images=images, search_fraction=0.4), seed=0)
        assert len(data.search) == images and len(data.fit) == 20 - images
        same = open_data(plain, DataSettings(search_fraction=images / 20), seed=0)
        assert same.search.image_ids == data.search.image_ids
    assert "data.search_images = 20: there are 20 training images" in refused(plain, DataSettings(search_images=20))
    assert "give at most 19" in refused(plain, DataSettings(search_images=5000))


def test_the_splits_of_recorded_results_stay_what_they_were(plain: Path, tmp_path: Path) -> None:
    assert open_data(plain, DataSettings(), seed=0).search.image_ids == (60, 70, 130, 170)
    write_coco(tmp_path / "train.json", tmp_path / "train", TRAIN)
    data = open_data(tmp_path, DataSettings(), seed=0)
    assert data.val.image_ids == (70, 80, 130, 200) and data.search.image_ids == (50, 60, 170)


def test_the_search_split_is_a_function_of_the_seed(plain: Path) -> None:
    splits = [ids(open_data(plain, DataSettings(), seed))["search"] for seed in (0, 0, 1, 2)]
    assert splits[0] == splits[1]
    assert len({frozenset(split) for split in splits}) == 3


def test_a_validation_set_of_its_own_is_untouched_by_seed_and_fractions(plain: Path) -> None:
    first = open_data(plain, DataSettings(), seed=0).val
    second = open_data(plain, DataSettings(search_fraction=0.7, val_fraction=0.7), seed=9).val
    assert first.image_ids == second.image_ids and first.boxes.tolist() == second.boxes.tolist()


def test_the_set_aside_validation_images_are_never_searched_on(tmp_path: Path) -> None:
    write_coco(tmp_path / "annotations.json", tmp_path / "images", TRAIN)
    for seed in range(5):
        found = ids(open_data(tmp_path, DataSettings(), seed))
        assert not found["val"] & (found["fit"] | found["search"])
        assert found["fit"] | found["search"] == found["train"] and not found["fit"] & found["search"]


def test_the_fingerprint_tells_data_and_splits(plain: Path, tmp_path: Path) -> None:
    first = open_data(plain, DataSettings(), seed=0).fingerprint()
    shutil.copytree(plain, tmp_path / "moved")
    assert open_data(tmp_path / "moved", DataSettings(), seed=0).fingerprint() == first
    assert open_data(plain, DataSettings(), seed=1).fingerprint() != first
    assert open_data(plain, DataSettings(search_fraction=0.5), seed=0).fingerprint() != first
    for place, change in enumerate(
        (
            lambda tree: tree["annotations"][0]["bbox"].__setitem__(0, 3.5),
            lambda tree: tree["annotations"][0].update(category_id=2),
            lambda tree: tree["annotations"][0].update(iscrowd=1),
            lambda tree: tree["annotations"].pop(),
        )
    ):
        tree = json.loads((plain / "val.json").read_text())
        change(tree)
        folder = tmp_path / str(place)
        shutil.copytree(plain, folder)
        (folder / "val.json").write_text(json.dumps(tree))
        assert open_data(folder, DataSettings(), seed=0).fingerprint() != first
