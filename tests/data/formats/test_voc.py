"""VOC annotations: what they become, and what is refused."""

import time
from pathlib import Path

import pytest
from make_voc import DOG, Object, write_image, write_voc, xml_of

from detnas.config import DataSettings
from detnas.data.check import check
from detnas.data.detection import Category, DetectionSet
from detnas.data.formats.voc.read import CLASSES, VocSet, load_voc, voc_categories
from detnas.data.splits import open_data
from detnas.evaluation.metrics.coco import coco_scores
from detnas.utils.errors import UserError
from detnas.utils.progress import Progress

CAT: Object = ("cat", (1, 1, 24, 24), 0)


def opened(tree: Path, **settings: object) -> DetectionSet:
    return open_data(tree, DataSettings(val="val", train="train", **settings), seed=0).train


def annotation(tree: Path, text: str, name: str = "000001") -> Path:
    """Replace an image's annotations."""
    file = tree / "Annotations" / f"{name}.xml"
    file.write_text(text)
    return file


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_voc(tmp_path / "tree", {"train": ["000001", "000002", "000003"], "val": ["000004"]})


# What is read


def test_corners_become_continuous_pixels(tree: Path) -> None:
    annotation(tree, xml_of([("cat", (1, 1, 24, 24), 0), ("dog", (3, 4, 3, 4), 1), ("dog", (2.5, 4, 9.75, 8), 0)], ""))
    data = opened(tree)
    assert data.boxes[data.rows_of(0)].tolist() == [[0, 0, 24, 24], [2, 3, 1, 1], [1.5, 3, 8.25, 5]]
    assert data.areas[data.rows_of(0)].tolist() == [576, 1, 41.25]
    assert [data.categories[label].name for label in data.labels[data.rows_of(0)]] == ["cat", "dog", "dog"]
    assert data.sizes.tolist() == [[24, 24]] * 3


def test_difficult_objects_are_crowds(tree: Path) -> None:
    annotation(tree, xml_of([DOG, ("cat", (2, 2, 9, 9), 1)], ""))
    data = opened(tree)
    assert data.crowd[data.rows_of(0)].tolist() == [False, True]
    boxes, labels = data.training_boxes(0)
    assert boxes.tolist() == [[2, 3, 12, 14]] and data.categories[labels[0]].name == "dog"


def test_coco_scores_ignore_what_lies_in_a_difficult_object(tree: Path) -> None:
    """As the docstring of load_voc says: any number, however small."""
    annotation(tree, xml_of([("dog", (1, 1, 20, 20), 1), ("dog", (22, 22, 24, 24), 0)], ""))
    truth = opened(tree).subset([0])
    small, found = [3.0, 3.0, 4.0, 4.0], truth.boxes[1].tolist()
    results = [
        {"image_id": 1, "category_id": CLASSES.index("dog") + 1, "bbox": box, "score": score}
        for box, score in ((small, 0.9), (small, 0.8), (found, 0.7))
    ]
    assert coco_scores(truth.ground_truth(), results)[0]["mAP"] == pytest.approx(1)


def test_the_classes_of_voc_have_its_ids_and_others_are_counted() -> None:
    assert voc_categories(CLASSES) == tuple(Category(id, name) for id, name in enumerate(sorted(CLASSES), start=1))
    assert len(CLASSES) == 20
    assert voc_categories(["person", "dog", "dog"]) == (Category(12, "dog"), Category(15, "person"))
    assert voc_categories(["person", "bolt"]) == (Category(1, "bolt"), Category(2, "person"))


def test_splits_have_the_same_categories_though_no_file_lists_them(tmp_path: Path) -> None:
    names = {"1": [("nut", (1, 1, 9, 9), 0)], "2": [("bolt", (1, 1, 9, 9), 0)], "3": [("pin", (1, 1, 9, 9), 0)]}
    write_voc(tmp_path, {"train": ["1", "2"], "val": ["3"]}, names)
    data = open_data(tmp_path, DataSettings(), seed=0)
    assert data.train.categories == data.val.categories == voc_categories(["bolt", "nut", "pin"])
    assert data.train.labels.tolist() == [1, 0] and data.val.labels.tolist() == [2]


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (("000005", "2008_000002"), (5, 2008000002)),
        (("b", "a"), (1, 2)),
        (("7", "007"), (1, 2)),
        (("1" * 30, "2"), (1, 2)),
    ],
)
def test_image_ids_are_the_numbers_in_the_names(names: tuple[str, ...], ids: tuple[int, ...], tmp_path: Path) -> None:
    write_voc(tmp_path, {"train": names})
    loaded, _ = load_voc(VocSet(tmp_path, tmp_path / "Annotations", tmp_path / "JPEGImages", names))
    assert tuple(image["id"] for image in loaded["images"]) == ids


@pytest.mark.parametrize(
    ("stated", "there"),
    [("000001.png", "000001.png"), ("", "000001.jpeg"), ("/home/me/000001.jpg", "000001.jpg"), ("a b.jpg", "a b.jpg")],
)
def test_images_are_found_by_name(stated: str, there: str, tree: Path) -> None:
    (tree / "JPEGImages" / "000001.jpg").rename(tree / "JPEGImages" / there)
    annotation(tree, xml_of([DOG], stated))
    assert opened(tree).files[0] == tree / "JPEGImages" / there


def test_what_tools_leave_out_is_not_needed(tree: Path) -> None:
    box = "<bndbox><xmin>3</xmin><ymin>4</ymin><xmax>12</xmax><ymax>14</ymax></bndbox>"
    size = "<size><width> 24\n</width><height>24</height></size>"
    things = f"<object><name>\n dog </name>{box}</object><object><name>dog</name><difficult/>{box}</object>"
    start = "<?xml version='1.0' encoding='utf-8'?>\n<annotation verified='yes'>"
    annotation(tree, f"{start}{size}{things}</annotation>")
    data = opened(tree)
    assert data.boxes[:2].tolist() == [[2, 3, 10, 11]] * 2 and not data.crowd[:2].any()


def test_a_tool_that_counts_pixels_from_0_is_within_what_is_forgiven(tree: Path) -> None:
    annotation(tree, xml_of([("dog", (0, 0, 24, 24), 0)], ""))
    assert opened(tree).training_boxes(0)[0].tolist() == [[0, 0, 24, 24]]


# What is refused


def refused(tree: Path) -> str:
    with pytest.raises(UserError) as refusal:
        opened(tree)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not an XML file of VOC (no element found"),
        ("<annotation><size>", "not an XML file of VOC (no element found"),
        ("<annotation></size></annotation>", "not an XML file of VOC (mismatched tag: line 1"),
        ("<?xml version='1.0' encoding='klingon'?><annotation/>", "not an XML file of VOC (unknown encoding"),
        ("<kml/>", "it holds <kml> instead of <annotation>"),
        ("<annotation/>", "size/width is ''"),
        (xml_of([DOG], "", width=0), "size/width is '0'"),
        (xml_of([DOG], "", height=-3), "size/height is '-3'"),
        (xml_of([DOG, ("", (1, 1, 2, 2), 0)], ""), "object 2: has no <name>"),
        (xml_of([("dog", (1, 1, 9, float("nan")), 0)], ""), "object 1 (dog): bndbox/ymax is 'nan'"),
        (xml_of([("dog", (float("-inf"), 1, 9, 9), 0)], ""), "object 1 (dog): bndbox/xmin is '-inf'"),
        (xml_of([DOG], "").replace("<xmin>3", "<xmin>three"), "object 1 (dog): bndbox/xmin is 'three'"),
        (xml_of([DOG], "").replace("bndbox", "polygon"), "object 1 (dog): bndbox/xmin is ''"),
        (xml_of([("dog", (1, 1, 9, 9), 2)], ""), "object 1 (dog): difficult is '2'; write 0 or 1"),
    ],
)
def test_broken_annotations_are_refused(text: str, words: str, tree: Path) -> None:
    file = annotation(tree, text)
    message = refused(tree)
    assert message.startswith(str(file)) and words in message


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((3, 4, 30, 14), "1 boxes outside their image (first: {file}, object 1 (dog), bndbox 3 4 30 14 in 24x24"),
        ((3, 4, 2, 14), "1 boxes without area (first: {file}, object 1 (dog), bndbox 3 4 2 14"),
        ((12, 4, 3, 14), "1 boxes without area"),
    ],
)
def test_bad_boxes_are_refused_or_dropped(box: tuple[float, float, float, float], words: str, tree: Path) -> None:
    file = annotation(tree, xml_of([("dog", box, 0), CAT], ""))
    message = refused(tree)
    assert message.startswith(str(tree / "ImageSets/Main/train.txt")) and "data.bad_boxes=drop" in message
    assert words.format(file=file) in message
    assert len(opened(tree, bad_boxes="drop").boxes) == 3


def test_what_a_list_names_must_be_there(tree: Path) -> None:
    (tree / "JPEGImages" / "000002.jpg").unlink()
    assert "1 images that are not under" in refused(tree) and "first: 000002.jpg" in refused(tree)
    (tree / "Annotations" / "000002.xml").unlink()
    assert f"train.txt: 1 of its images have no annotations (first: {tree}/Annotations/000002.xml)" in refused(tree)
    (tree / "ImageSets" / "Main" / "train.txt").write_bytes(b"\xff\xfe\xfa")
    assert "train.txt: not a list of names" in refused(tree)
    (tree / "ImageSets" / "Main" / "train.txt").write_text("\n \n")
    assert "train.txt: lists no image" in refused(tree)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_that_blow_up_are_refused_at_once(encoding: str, tree: Path) -> None:
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    text = f"<?xml version='1.0' encoding='{encoding}'?><!DOCTYPE annotation [<!ENTITY a0 'dog'>{entities}]>"
    (tree / "Annotations" / "000001.xml").write_bytes(f"{text}<annotation>&a11;</annotation>".encode(encoding))
    began = time.process_time()
    assert "not an XML file of VOC (it declares a document type)" in refused(tree)
    assert time.process_time() - began < 1


def test_deep_nesting_is_no_danger(tree: Path) -> None:
    annotation(tree, f"<annotation>{'<a>' * 200_000}{'</a>' * 200_000}</annotation>")
    assert "size/width" in refused(tree)


# Looking at it


def test_check_says_what_it_found(tree: Path) -> None:
    annotation(tree, xml_of([DOG, ("dog", (3, 4, 9, 9), 1), CAT], "000001.jpg"))
    lines, fine = check(tree, DataSettings(), Progress(quiet=True))
    assert fine and lines[0].startswith(f"train: VOC, {tree}/ImageSets/Main/train.txt, images under {tree}/JPEGImages")
    assert "3 images, 5 boxes, 2 categories" in lines[1] and "cat 1, dog 4" in lines[2]
    assert any("note: 1 crowd or difficult boxes" in line and "object 2 (dog)" in line for line in lines)


def test_check_finds_what_is_wrong_with_the_splits_together(tree: Path) -> None:
    write_image(tree / "Annotations", tree / "JPEGImages", "000004", [("dog", (3, 4, 9, 9), 1)])
    lines, fine = check(tree, DataSettings(), Progress(quiet=True))
    assert not fine and lines[-2].startswith(f"ERROR: {tree}: the validation (1 images) holds no box")
