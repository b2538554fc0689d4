"""Reading COCO files: each thing that can be wrong is refused in one line that says what, where, and what to do."""

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_coco import read_coco, some_images, tree_of, write_coco, write_images

from detnas.data.formats.coco import read
from detnas.data.formats.coco.read import load_coco
from detnas.data.validation import BadBoxes, find_issues
from detnas.utils.errors import UserError
from detnas.utils.text import describe_value

Tree = dict[str, Any]
GOOD = tree_of([(40, 30, [(1, [2, 3, 10, 12]), (3, [20, 5, 15, 20])]), (20, 50, [(2, [1, 1, 8, 8])]), (30, 30, [])])


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coco") / "images"
    write_images(folder, GOOD)
    return folder


def refusal(tree: Any, images: Path, tmp_path: Path, bad_boxes: BadBoxes = "refuse") -> str:
    """What read_coco says to `tree`, without the name of the file, which every message begins with."""
    file = tmp_path / "some file.json"
    file.write_text(tree if isinstance(tree, str) else json.dumps(tree))
    with pytest.raises(UserError) as error:
        read_coco(file, images, bad_boxes)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"{file}: ")
    return message.removeprefix(f"{file}: ")


def changed(change: Callable[[Tree], Any]) -> Tree:
    tree = copy.deepcopy(GOOD)
    change(tree)
    return tree


def test_a_good_file_is_read(images: Path, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(GOOD))
    data = read_coco(tmp_path / "a.json", images)
    assert data.image_ids == (10, 20, 30)
    assert data.files == tuple(images / name for name in ("10.png", "20.png", "30.png"))
    assert data.sizes.tolist() == [[40, 30], [20, 50], [30, 30]]
    assert data.boxes.tolist() == [[2, 3, 10, 12], [20, 5, 15, 20], [1, 1, 8, 8]]
    assert data.labels.tolist() == [0, 2, 1]
    assert data.areas.tolist() == [120, 300, 64]
    assert data.starts.tolist() == [0, 2, 3, 3]
    assert [(category.id, category.name) for category in data.categories] == [
        (1, "class 1"),
        (2, "class 2"),
        (3, "class 3"),
    ]


def test_annotations_need_not_stand_in_the_order_of_the_images(images: Path, tmp_path: Path) -> None:
    tree = changed(lambda tree: tree["annotations"].reverse())
    (tmp_path / "a.json").write_text(json.dumps(tree))
    data = read_coco(tmp_path / "a.json", images)
    assert data.boxes[data.rows_of(0)].tolist() == [[20, 5, 15, 20], [2, 3, 10, 12]]
    assert data.boxes[data.rows_of(1)].tolist() == [[1, 1, 8, 8]]
    assert data.labels[data.rows_of(0)].tolist() == [2, 0]


# Not COCO


def test_a_missing_file_is_refused(images: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.json", tmp_path):
        with pytest.raises(UserError, match=r"cannot be read .*; name the annotations by data\.train") as error:
            read_coco(path, images)
        assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "hello", '{"images": [', "\x00", '{"images": []}\n{}'])
def test_what_is_not_json_is_refused(text: str, images: Path, tmp_path: Path) -> None:
    assert "not JSON" in refusal(text, images, tmp_path)


def test_what_is_not_text_is_refused(images: Path, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(UserError, match="not JSON"):
        read_coco(tmp_path / "a.json", images)


def test_a_byte_order_mark_does_no_harm(images: Path, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode())
    assert len(read_coco(tmp_path / "a.json", images)) == 3


@pytest.mark.parametrize("tree", [[], {}, 3, None, "text", {"images": {}, "annotations": [], "categories": []}])
def test_json_that_is_not_coco_is_refused(tree: Any, images: Path, tmp_path: Path) -> None:
    message = refusal(json.dumps(tree), images, tmp_path)
    assert message.startswith("not COCO, it has no list 'images'") and "expected" in message


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_a_missing_list_is_named(key: str, images: Path, tmp_path: Path) -> None:
    assert f"no list '{key}'" in refusal(changed(lambda tree: tree.pop(key)), images, tmp_path)


FIELDS = [
    ("images", "id", [True, "1", 1.0, None, [1]]),
    ("images", "file_name", [1, None, ["a.png"]]),
    ("images", "width", [True, "40", 40.5, None, 0, -40, 10**20]),
    ("images", "height", [False, "30", 30.5, None, 0, -30]),
    ("annotations", "image_id", [True, "10", 10.0, None]),
    ("annotations", "category_id", [True, "1", 1.0, None]),
    (
        "annotations",
        "bbox",
        [None, 3, [1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, "4"], [1, 2, 3, None], [1, 2, 3, True], {"x": 1}],
    ),
    ("annotations", "bbox", [[1, 2, 3, float("nan")], [float("inf"), 2, 3, 4], [1, 2, 3, 10**400]]),
    ("annotations", "area", ["12", float("nan"), True, [12], -1]),
    ("annotations", "iscrowd", ["0", "no", 2, [0]]),
    ("categories", "id", [True, "1", 1.0, None]),
    ("categories", "name", [1, None, ["a"]]),
]


@pytest.mark.parametrize(
    ("key", "field", "value"), [(key, field, value) for key, field, values in FIELDS for value in values]
)
def test_a_field_of_the_wrong_kind_is_named_with_its_place(
    key: str, field: str, value: Any, images: Path, tmp_path: Path
) -> None:
    message = refusal(changed(lambda tree: tree[key][1].update({field: value})), images, tmp_path)
    assert message.startswith(f"{key}[1].{field} is {describe_value(value)}; write ")
    if field not in ("area", "iscrowd"):
        message = refusal(changed(lambda tree: tree[key][1].pop(field)), images, tmp_path)
        assert message.startswith(f"{key}[1].{field} is missing; write ")


NUMBERS_OF_DIGITS = (10**400, -(10**3000), 10**4000)


@pytest.mark.parametrize(
    ("key", "field", "value", "said"),
    [
        *(("images", "id", value, "a number of") for value in NUMBERS_OF_DIGITS),
        *(("annotations", "category_id", value, "a number of") for value in NUMBERS_OF_DIGITS),
        ("images", "file_name", "x" * 5000, "...xxx"),
        ("images", "file_name", "", "''"),
        ("categories", "name", "x" * 10**6, "...xxx"),
        ("categories", "name", [[[[[[["x" * 500]]]]]]], "..."),
        ("annotations", "bbox", list(range(10**5)), "..."),
        ("annotations", "iscrowd", {"a": "x" * 10**6}, "..."),
    ],
)
def test_a_huge_value_is_refused_in_a_short_line(
    key: str, field: str, value: Any, said: str, images: Path, tmp_path: Path
) -> None:
    message = refusal(changed(lambda tree: tree[key][1].update({field: value})), images, tmp_path)
    assert message.startswith(f"{key}[1].{field} is ") and said in message and "; write " in message
    assert len(message) < 300


def test_numbers_of_too_many_digits_and_deep_nesting_are_refused(images: Path, tmp_path: Path) -> None:
    for text in ("9" * 5000, "[" * 10**6, '{"a":' * 10**5):
        assert refusal(f'{{"images": {text}', images, tmp_path).startswith("not JSON")


def test_a_file_beyond_the_memory_is_not_read(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "available_memory", lambda: 1000)
    assert "MB takes about" in refusal(GOOD, images, tmp_path)
    monkeypatch.setattr(read, "available_memory", lambda: None)
    assert len(read_coco(tmp_path / "some file.json", images)) == 3
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(UserError, match="not a regular file"):
        read_coco(tmp_path / "pipe.json", images)


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_an_entry_that_is_no_object_is_named_with_its_place(key: str, images: Path, tmp_path: Path) -> None:
    for entry in (None, 3, [], {}):
        assert f"{key}[1]" in refusal(changed(lambda tree, entry=entry: tree[key].insert(1, entry)), images, tmp_path)


@pytest.mark.parametrize("field", ["area", "iscrowd", "id"])
def test_a_field_that_is_not_needed_may_be_absent_or_null(field: str, images: Path, tmp_path: Path) -> None:
    def null(tree: Tree) -> None:
        for annotation in tree["annotations"]:
            annotation[field] = None

    (tmp_path / "a.json").write_text(json.dumps(changed(null)))
    data = read_coco(tmp_path / "a.json", images)
    assert data.areas.tolist() == [120, 300, 64] and not data.crowd.any()


def test_area_and_crowd_are_taken_from_the_file(images: Path, tmp_path: Path) -> None:
    tree = changed(lambda tree: tree["annotations"][0].update(area=55.5, iscrowd=1))
    (tmp_path / "a.json").write_text(json.dumps(tree))
    data = read_coco(tmp_path / "a.json", images)
    assert data.areas.tolist() == [55.5, 300, 64] and data.crowd.tolist() == [True, False, False]


# COCO, but not right


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_an_empty_list_is_refused(key: str, images: Path, tmp_path: Path) -> None:
    message = refusal(changed(lambda tree: tree.update({key: []})), images, tmp_path)
    assert key in message and "nothing to train on" in message


@pytest.mark.parametrize("key", ["images", "categories"])
def test_ids_that_are_shared_are_counted(key: str, images: Path, tmp_path: Path) -> None:
    tree = changed(lambda tree: tree[key][1].update(id=tree[key][2]["id"]))
    message = refusal(tree, images, tmp_path)
    assert message.startswith("1 ") and key in message
    assert f"id {tree[key][2]['id']}" in message and "give each its own" in message


def test_images_that_the_disk_lacks_are_counted(images: Path, tmp_path: Path) -> None:
    def lose(tree: Tree) -> None:
        tree["images"][0]["file_name"] = "lost.png"
        tree["images"][1]["file_name"] = "long" * 100 + ".png"
        tree["images"][2]["file_name"] = "../images"

    message = refusal(changed(lose), images, tmp_path)
    assert message.startswith("3 images") and "lost.png" in message and str(images) in message
    assert "data.train_images" in message
    assert refusal(GOOD, tmp_path / "nowhere", tmp_path).startswith("3 images")


def test_images_may_lie_in_folders_of_their_own_and_behind_links(images: Path, tmp_path: Path) -> None:
    (tmp_path / "deep").symlink_to(images)

    def move(tree: Tree) -> None:
        for image, prefix in zip(tree["images"], ("deep/", "./deep/", f"{images}/"), strict=True):
            image["file_name"] = prefix + image["file_name"]

    (tmp_path / "a.json").write_text(json.dumps(changed(move)))
    data = read_coco(tmp_path / "a.json", tmp_path)
    assert all(file.is_file() for file in data.files)


def test_annotations_of_unknown_images_are_counted(images: Path, tmp_path: Path) -> None:
    message = refusal(changed(lambda tree: tree["annotations"][1].update(image_id=99)), images, tmp_path)
    assert message.startswith("1 annotations of images that are not listed")
    assert "image_id 99" in message and "remove them" in message


def test_undefined_categories_are_counted_with_those_that_are_defined(images: Path, tmp_path: Path) -> None:
    def undefine(tree: Tree) -> None:
        for annotation in tree["annotations"][:2]:
            annotation["category_id"] = 7

    message = refusal(changed(undefine), images, tmp_path)
    assert message.startswith("2 annotations") and "category_id 7" in message and "1, 2, 3" in message


FLAT = [[2, 3, 0, 12], [2, 3, 10, 0], [2, 3, -10, 12], [2, 3, 10, -1], [2, 3, 1e-9, 12]]
OUTSIDE = [[-2, 3, 10, 12], [2, -2, 10, 12], [32, 3, 10, 12], [2, 20, 10, 12], [100, 100, 5, 5]]
# Within the pixel that tools may round by, yet nothing of the box is in the image.
BESIDE = [[40, 3, 1, 12], [-1, 3, 1, 12], [2, 30, 10, 0.5], [2, -0.75, 10, 0.75]]


@pytest.mark.parametrize(
    ("box", "what"),
    [(box, "without area") for box in FLAT] + [(box, "outside their image") for box in OUTSIDE + BESIDE],
)
def test_bad_boxes_are_refused_or_left_out_as_told(box: list[float], what: str, images: Path, tmp_path: Path) -> None:
    def spoil(tree: Tree) -> None:
        tree["annotations"][0]["bbox"] = box

    message = refusal(changed(spoil), images, tmp_path)
    assert message.startswith(f"1 boxes {what}")
    assert "annotation 1000 of image 10" in message and str(box) in message and "data.bad_boxes=drop" in message
    data = read_coco(tmp_path / "some file.json", images, "drop")
    assert data.image_ids == (10, 20, 30)
    assert data.boxes.tolist() == [[20, 5, 15, 20], [1, 1, 8, 8]]
    assert data.starts.tolist() == [0, 1, 2, 2]


def test_boxes_that_are_corners_are_recognized(images: Path, tmp_path: Path) -> None:
    def spoil(tree: Tree) -> None:
        for annotation in tree["annotations"][:2]:
            annotation["bbox"] = [10, 12, 39, 30]

    assert "if they are x1, y1, x2, y2, write x, y, width, height; otherwise" in refusal(
        changed(spoil), images, tmp_path
    )


def test_what_is_cut_has_at_most_the_area_of_its_box(images: Path, tmp_path: Path) -> None:
    def spoil(tree: Tree) -> None:
        for annotation, area in zip(tree["annotations"][:2], (5000, 20.5), strict=True):
            annotation.update(bbox=[-10, -10, 20, 25.5], area=area)
        tree["annotations"][1]["category_id"] = 2

    (tmp_path / "a.json").write_text(json.dumps(changed(spoil)))
    data = read_coco(tmp_path / "a.json", images, "clip")
    assert data.boxes[:2].tolist() == [[0, 0, 10, 15.5]] * 2 and data.areas[:2].tolist() == [155, 20.5]


def test_bad_boxes_are_counted(images: Path, tmp_path: Path) -> None:
    def spoil(tree: Tree) -> None:
        for annotation, box in zip(tree["annotations"], ([2, 3, 0, 0], [2, 3, 90, 9], [1, 1, 0, 5]), strict=True):
            annotation["bbox"] = box

    assert refusal(changed(spoil), images, tmp_path).startswith("2 boxes without area")
    file = tmp_path / "some file.json"
    assert len(read_coco(file, images, "drop").boxes) == 0
    found = {issue.what: issue.count for issue in find_issues(load_coco(file), images)}
    assert found["boxes without area"] == 2 and found["boxes outside their image"] == 1


def test_only_bad_boxes_can_be_left_out(images: Path, tmp_path: Path) -> None:
    def spoil(tree: Tree) -> None:
        tree["annotations"][0]["bbox"] = [2, 3, 0, 0]
        tree["annotations"][1]["category_id"] = 7

    assert "category_id 7" in refusal(changed(spoil), images, tmp_path, "drop")


@pytest.mark.parametrize("box", [[-1, -1, 42, 32], [30.5, 3, 10, 12], [0, 0, 40, 30]])
def test_boxes_may_reach_a_pixel_beyond_their_image(box: list[float], images: Path, tmp_path: Path) -> None:
    def stretch(tree: Tree) -> None:
        tree["annotations"][0]["bbox"] = box

    (tmp_path / "a.json").write_text(json.dumps(changed(stretch)))
    data = read_coco(tmp_path / "a.json", images)
    assert data.boxes[0].tolist() == box
    corners, _ = data.training_boxes(0)
    assert (corners >= 0).all() and (corners <= [40, 30, 40, 30]).all()
    assert (corners[:, 2:] > corners[:, :2]).all()


def test_what_is_merely_remarkable_is_no_reason_to_refuse(images: Path, tmp_path: Path) -> None:
    tree = changed(lambda tree: tree["annotations"][0].update(iscrowd=1))
    issues = find_issues(tree, images)
    assert [(issue.what, issue.count, issue.fatal) for issue in issues] == [
        ("images without boxes", 1, False),
        ("crowd or difficult boxes, left out of training and ignored in evaluation", 1, False),
    ]
    assert "image id 30" in str(issues[0])


def test_the_gravest_comes_first(images: Path) -> None:
    def spoil(tree: Tree) -> None:
        tree["annotations"][0].update(image_id=99, category_id=9, bbox=[0, 0, 0, 0])
        tree["images"][1]["file_name"] = "lost.png"

    issues = find_issues(changed(spoil), images)
    assert [issue.count for issue in issues if issue.fatal] == [1, 1, 1, 1]
    assert [issue.what for issue in issues if issue.fatal][-1] == "boxes without area"


# Ids


@pytest.mark.parametrize("ids", [(1, 2, 3), (0, 1, 2), (3, 1, 2), (90, 7, 18), (2**40, 0, 5), (-1, 4, 2)], ids=str)
def test_category_ids_come_back_unchanged(ids: tuple[int, ...], tmp_path: Path) -> None:
    images = [(30, 30, [(id, [2, 3, 10, 5 + place]) for place, id in enumerate(ids)])]
    tree = tree_of(images, ids)
    tree["images"][0]["id"] = 2**40
    for annotation in tree["annotations"]:
        annotation["image_id"] = 2**40
    write_coco(tmp_path / "a.json", tmp_path, tree)
    data = read_coco(tmp_path / "a.json", tmp_path)
    assert sorted(data.labels.tolist()) == [0, 1, 2]
    assert {data.categories[label].id for label in data.labels} == set(ids)

    truth = data.ground_truth()
    assert truth["images"][0]["id"] == 2**40
    assert {c["id"]: c["name"] for c in truth["categories"]} == {id: f"class {id}" for id in ids}
    assert [(a["category_id"], a["bbox"]) for a in truth["annotations"]] == [
        (a["category_id"], a["bbox"]) for a in tree["annotations"]
    ]

    corners, labels = data.training_boxes(0)
    results = data.results(0, corners.astype(np.float32), np.array([0.9, 0.5, 0.25], np.float32), labels)
    assert [(r["image_id"], r["category_id"], r["bbox"], r["score"]) for r in results] == [
        (2**40, a["category_id"], a["bbox"], pytest.approx(score))
        for a, score in zip(tree["annotations"], (0.9, 0.5, 0.25), strict=True)
    ]
    json.dumps([truth, results])  # plain numbers, not NumPy's


# The set in memory


def test_a_subset_holds_its_images_in_the_order_asked_for(tmp_path: Path) -> None:
    tree = tree_of(some_images(8))
    write_coco(tmp_path / "a.json", tmp_path, tree)
    data = read_coco(tmp_path / "a.json", tmp_path)
    part = data.subset([5, 0, 6])
    assert len(part) == 3 and part.image_ids == (60, 10, 70) and part.categories == data.categories
    for place, index in enumerate([5, 0, 6]):
        assert part.files[place] == data.files[index]
        assert part.sizes[place].tolist() == data.sizes[index].tolist()
        for name in ("boxes", "labels", "areas", "crowd"):
            ours, theirs = getattr(part, name)[part.rows_of(place)], getattr(data, name)[data.rows_of(index)]
            assert ours.tolist() == theirs.tolist() and ours.dtype == theirs.dtype
    empty = data.subset([])
    assert len(empty) == 0 and empty.boxes.shape == (0, 4) and empty.ground_truth()["images"] == []
    again = data.subset(range(8))
    assert again.boxes.tolist() == data.boxes.tolist() and again.starts.tolist() == data.starts.tolist()


def test_training_boxes_are_clipped_corners_without_crowds(images: Path, tmp_path: Path) -> None:
    def prepare(tree: Tree) -> None:
        tree["annotations"] = [
            {"image_id": 10, "category_id": 1, "bbox": [-0.5, 2, 41, 28.5]},
            {"image_id": 10, "category_id": 2, "bbox": [5, 5, 10, 10], "iscrowd": 1},
            {"image_id": 10, "category_id": 3, "bbox": [5, 6, 7, 8], "iscrowd": 0},
        ]

    (tmp_path / "a.json").write_text(json.dumps(changed(prepare)))
    data = read_coco(tmp_path / "a.json", images)
    before = data.boxes.copy()
    corners, labels = data.training_boxes(0)
    assert corners.tolist() == [[0, 2, 40, 30], [5, 6, 12, 14]] and labels.tolist() == [0, 2]
    assert data.training_boxes(2)[0].shape == (0, 4)
    assert (data.boxes == before).all()  # what is clipped is a copy
    # Evaluation knows the crowd and the boxes as they were.
    truth = data.ground_truth()["annotations"]
    assert [a["iscrowd"] for a in truth] == [0, 1, 0] and truth[0]["bbox"] == [-0.5, 2, 41, 28.5]
