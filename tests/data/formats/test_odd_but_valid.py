"""What `data check` passes trains, is evaluated as a candidate and on the validation set; the rest is refused."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock
from xml.sax.saxutils import escape

import numpy as np
import pytest
import yaml
from hypothesis import event, given
from hypothesis import strategies as st
from make_coco import some_images, tree_of
from make_coco import write_coco as write_tree
from PIL import Image
from test_malformed import RECIPE, detnas, examples

from detnas.config import Recipe
from detnas.data.images import Images
from detnas.evaluation.evaluate import evaluate
from detnas.models.supernet import Supernet
from detnas.models.weights import DetectorInfo, save_detector
from detnas.run import pipeline
from detnas.run.context import Run
from detnas.search.evaluators.detection import DetectionEvaluator
from detnas.spaces import Architecture


class Drawn(NamedTuple):
    """An image that is drawn, its name without ending, and its boxes: class, x, y, width and height, and crowd."""

    name: str
    ending: str
    size: tuple[int, int]
    """As it is stored."""
    mode: str
    orientation: int
    boxes: list[tuple[int, tuple[float, float, float, float], bool]]

    @property
    def shown(self) -> tuple[int, int]:
        return self.size[::-1] if self.orientation >= 5 and self.ending == ".jpg" else self.size


MODES = {".png": ["RGB", "L", "P", "RGBA", "LA", "1", "I;16"], ".jpg": ["RGB", "L", "CMYK"], ".JPEG": ["RGB"]}
MODES |= {".webp": ["RGB", "RGBA"], ".bmp": ["RGB", "L"], ".tif": ["RGB", "I;16", "L"]}
LETTERS = "aZ09 ._-'\"&<>#%{}[]()$;,~äß例😀\u0301\u202e\x1b\x07\x7f"
NAMES = st.text(LETTERS, max_size=12)
NOT_IN_XML = {ord(letter): None for letter in "\x1b\x07"}
CLASS_NAMES = st.lists(st.text(LETTERS + "/\\:\t", max_size=20) | st.just("n" * 256), min_size=1, max_size=3)
CLASS_NAMES |= st.just([f"class {number}" for number in range(200)])
IDS = st.sampled_from([0, 1, -1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**30, -(10**199)])
ALL_SIDES = [1, 2, 3, 7, 16, 31, 32, 33, 64, 100, 200]
SIDES = st.sampled_from(ALL_SIDES)


@st.composite
def drawn_images(draw: st.DrawFn, count: int, classes: int) -> list[Drawn]:
    names = [f"{place}{draw(NAMES)}".rstrip(" .") for place in range(count)]
    images = []
    for name in names:
        ending = draw(st.sampled_from(list(MODES)))
        width = draw(SIDES)
        height = draw(st.sampled_from([side for side in ALL_SIDES if max(side, width) <= 16 * min(side, width)]))
        mode, orientation = draw(st.sampled_from(MODES[ending])), draw(st.integers(0, 8)) if ending == ".jpg" else 0
        image = Drawn(name, ending, (width, height), mode, orientation, [])
        for _ in range(draw(st.sampled_from([0, 1, 1, 2, 2, 3]))):
            box = draw(boxes(image.shown))
            image.boxes.append((draw(st.integers(0, classes - 1)), box, draw(st.integers(0, 5)) == 0))
        if draw(st.integers(0, 5)):  # else some sets hold no box that counts
            image.boxes.append((0, (0, 0, *image.shown), False))
        images.append(image)
    return images


@st.composite
def boxes(draw: st.DrawFn, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """A valid box: x, y, width, height."""
    spans = []
    for side in size:
        start, length = draw(
            st.sampled_from(
                [
                    *((0, side), (-1, side + 2), (-0.75, side / 2 + 0.75), (side - 0.02, 0.02), (side - 0.5, 1.5)),
                    *((0, 0.02), (side / 3, side / 3), (side // 2, side - side // 2), (side / 7, 0.02), (0, 1)),
                ]
            )
        )
        spans.append((start, length))
    (x, width), (y, height) = spans
    return x, y, width, height


def write_image(file: Path, image: Drawn, seed: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    width, height = image.size
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    if image.mode == "I;16":
        saved = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    else:
        saved = Image.fromarray(pixels).convert(image.mode)
    exif = Image.Exif()
    if image.orientation:
        exif[0x0112] = image.orientation
    saved.save(file, **({"exif": exif} if image.ending == ".jpg" else {}))


def write_coco(folder: Path, split: str, images: Sequence[Drawn], classes: Sequence[str], data: st.DataObject) -> None:
    first, other = data.draw(IDS), 2**63 - 4 if len(classes) > 1 else -1  # categories have the same ids in both
    boxes = [
        {
            "image_id": first + place,
            "category_id": other + 3 * label,
            "bbox": [int(side) if side == int(side) and data.draw(st.booleans()) else side for side in box],
        }
        | data.draw(st.sampled_from([{"iscrowd": int(crowd)}, {"iscrowd": crowd, "area": 3.5, "id": -(2**70)}]))
        for place, image in enumerate(images)
        for label, box, crowd in image.boxes
    ]
    tree = {
        "images": [
            {"id": first + place, "file_name": image.name + image.ending}
            | dict(zip(("width", "height"), image.shown, strict=True))
            for place, image in enumerate(images)
        ],
        "annotations": boxes,
        "categories": [{"id": other + 3 * label, "name": name} for label, name in enumerate(classes)],
    }
    for place, image in enumerate(images):
        write_image(folder / split / (image.name + image.ending), image, place)
    (folder / f"{split}.json").write_text(json.dumps(tree))


def write_voc(folder: Path, split: str, images: Sequence[Drawn], classes: Sequence[str], data: st.DataObject) -> None:
    for place, image in enumerate(images):
        write_image(folder / split / (image.name + image.ending), image, place)
        width, height = image.shown
        names = [escape(name.translate(NOT_IN_XML)) or "a" for name in classes]
        objects = "".join(
            f"<object><name>{names[label]}</name>{'<difficult>1</difficult>' if crowd else ''}<bndbox>"
            f"<xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
            for label, (x, y, w, h), crowd in image.boxes
        )
        size = f"<size><width>{width}</width><height>{height}</height></size>"
        same = f"{escape(image.name.translate(NOT_IN_XML))}.jpg"
        stated = data.draw(st.sampled_from(["", "C:\\data\\other.jpg", same]))
        text = f"<annotation><filename>{stated}</filename>{size}{objects}</annotation>"
        (folder / split / f"{image.name}.xml").write_text(text)


def write_yolo(folder: Path, split: str, images: Sequence[Drawn], classes: Sequence[str], data: st.DataObject) -> None:
    for place, image in enumerate(images):
        write_image(folder / "images" / split / (image.name + image.ending), image, place)
        width, height = image.shown
        lines = [
            f"{label}{data.draw(st.sampled_from(['', '.0']))} {(x + w / 2) / width!r} {(y + h / 2) / height!r} "
            f"{w / width!r} {h / height!r}"
            for label, (x, y, w, h), _ in image.boxes
        ]
        labels = folder / "labels" / split / f"{image.name}.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        if lines or data.draw(st.booleans()):
            labels.write_text("\r\n".join(lines))
    description = {"train": "images/train", "val": "images/val", "names": list(classes)}
    (folder / "data.yaml").write_text(yaml.safe_dump(description, allow_unicode=True))


def train_and_evaluate(run: Run) -> None:
    """A step of the supernet, a candidate on the search split, and its evaluation on the validation set."""
    settings, data = run.recipe.supernet_finetune, run.data
    detector = run.detector(lambda: Supernet(run.space), None)
    run.train(detector, run.detection(settings, data.fit, run.recipe.detector), settings, "supernet-finetune")
    evaluator = DetectionEvaluator(
        detector, data.fit, data.search, run.recipe.search, seed=0, device=run.device, cache_mb=100
    )
    architecture = Architecture(tuple((0,) * count for count in run.space.repeats))
    assert evaluator(architecture).keys() >= {"mAP", "VOC"}
    candidate = evaluator.extract_candidate(architecture, None)
    images = Images(data.val.files, 0, data.val.sizes)
    found = evaluate(candidate, data.val, images, batch_size=2, device=run.device)
    json.dumps([found.scores, found.per_class, found.results])


@examples(20)
@given(data=st.data(), write=st.sampled_from([write_coco, write_voc, write_yolo]))
def test_what_the_check_passes_can_be_used_to_the_end(data: st.DataObject, write: Any) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder, recipe = Path(temporary) / "data", Path(temporary) / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(RECIPE))
        classes = data.draw(CLASS_NAMES)
        for split, count in (("train", data.draw(st.integers(3, 5))), ("val", data.draw(st.integers(1, 2)))):
            write(folder, split, data.draw(drawn_images(count, len(classes))), classes, data)
        status, said = detnas("data", "check", folder, "--out", Path(temporary) / "grid.png")
        event(f"{write.__name__}, {'passed' if status == 0 else 'refused'}")
        assert status in (0, 2) and said.count("\n") <= 1, said
        with mock.patch.object(pipeline, "STAGES", {"all": train_and_evaluate}):
            again, message = detnas("run", recipe, "--data", folder, "--out", Path(temporary) / "run")
        assert again == status, message
        assert message == "" if status == 0 else message.count("\n") == 1, message


@pytest.mark.parametrize("first", [-7, 2**63 - 2, 2**64, -(10**30)])
def test_a_weights_file_keeps_the_ids(first: int, tmp_path: Path) -> None:
    tree = tree_of(some_images(3))
    for entry in [*tree["images"], *tree["categories"]]:
        entry["id"] += first
    for annotation in tree["annotations"]:
        annotation["image_id"] += first
        annotation["category_id"] += first
    for split in ("train", "val"):
        write_tree(tmp_path / "data" / f"{split}.json", tmp_path / "data" / split, tree)
    recipe = Recipe.model_validate(RECIPE)
    space = recipe.search_space()
    names = tuple((category["id"], category["name"]) for category in tree["categories"])
    info = DetectorInfo(space, space.uniform("shuffle3"), recipe.detector, names)
    save_detector(tmp_path / "weights", info.build(), info)
    for words in (("evaluate", "weights", "--data", "data"), ("predict", "weights", "data/val", "--threshold", "0")):
        paths = [tmp_path / word if word in ("weights", "data", "data/val") else word for word in words]
        out = ("--out", tmp_path / "out") if "predict" in words else ()
        assert detnas(*paths, *out) == (0, "")
    predicted = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert {row["category_id"] for row in predicted["annotations"]} <= {id for id, _ in names}
    assert [(row["id"], row["name"]) for row in predicted["categories"]] == list(names)
