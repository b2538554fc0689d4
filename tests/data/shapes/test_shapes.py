"""The embedded data set: the same pixels for ever, honest boxes, all or nothing on the disk."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from detnas.config import ShapesSettings
from detnas.data.shapes import scenes as drawing
from detnas.data.shapes import write
from detnas.data.shapes.render import FULL, Stream, circle, erode, pose, rasterize
from detnas.data.shapes.scenes import CLASSES, OUTLINES, PlacedObject, VisibleObject, draw_crop, draw_scene
from detnas.data.shapes.write import write_shapes
from detnas.utils.errors import UserError

SMALL = ShapesSettings(train=6, val=2, size=64, crops=24, crop_size=32)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def fingerprint(directory: Path) -> str:
    """Of all pixels and annotations; not of the files, whose compression may differ between versions of zlib."""
    digest = hashlib.sha256()
    for path in sorted(directory.rglob("*.png"), key=lambda path: path.relative_to(directory).as_posix()):
        digest.update(path.relative_to(directory).as_posix().encode())
        digest.update(pixels(path).tobytes())
    for split in ("train", "val"):
        content = json.loads((directory / f"{split}.json").read_text())
        digest.update(json.dumps(content, sort_keys=True).encode())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shapes") / "small"
    write_shapes(directory, SMALL)
    return directory


@pytest.fixture(scope="module")
def scenes() -> list[tuple[np.ndarray, list[VisibleObject]]]:
    return [draw_scene(Stream(0, "test", index), 128, 8, 6, 1.0) for index in range(300)]


# Pinned: every published number on this data set was measured on these pixels. A change makes another data set.


def test_the_pixels_of_a_small_data_set_are_pinned(small: Path) -> None:
    assert fingerprint(small) == "060d8893fd76a34231d2954092927d39e755e50edc1e485a043d1ba262c758a7"


def test_the_pixels_of_a_scene_of_the_usual_size_are_pinned() -> None:
    image, _ = draw_scene(Stream(0, "train", 0), 128, 8, 6, 1.0)
    assert hashlib.sha256(image.tobytes()).hexdigest() == (
        "89176a7d7d40984e55f457b11e67ca0ace4bef74e672c1844d7cf2234013959b"
    )


def test_the_layout_is_coco_and_an_image_folder(small: Path) -> None:
    for split, count in (("train", 6), ("val", 2)):
        content = json.loads((small / f"{split}.json").read_text())
        assert [image["file_name"] for image in content["images"]] == [f"{i:06d}.png" for i in range(1, count + 1)]
        assert sorted(path.name for path in (small / split).iterdir()) == [f"{i:06d}.png" for i in range(1, count + 1)]
        assert content["categories"] == [{"id": i, "name": name} for i, name in enumerate(CLASSES, start=1)]
        assert [a["id"] for a in content["annotations"]] == list(range(1, len(content["annotations"]) + 1))
        assert {a["image_id"] for a in content["annotations"]} <= {image["id"] for image in content["images"]}
        assert all(a["iscrowd"] == 0 and a["area"] == a["bbox"][2] * a["bbox"][3] for a in content["annotations"])
        assert pixels(small / split / "000001.png").shape == (64, 64, 3)
    for split, per_class in (("train", 2), ("val", 1)):
        folder = small / "classification" / split
        assert Counter(path.parent.name for path in folder.rglob("*.png")) == dict.fromkeys(CLASSES, per_class)
        assert pixels(folder / "disc" / "00001.png").shape == (32, 32, 3)


def test_a_larger_data_set_begins_with_the_smaller_one(small: Path, tmp_path: Path) -> None:
    write_shapes(tmp_path / "larger", SMALL.model_copy(update={"train": 8, "val": 3, "crops": 40}))
    for path in small.rglob("*.png"):
        assert np.array_equal(pixels(path), pixels(tmp_path / "larger" / path.relative_to(small))), path
    for split in ("train", "val"):
        few = json.loads((small / f"{split}.json").read_text())["annotations"]
        many = json.loads((tmp_path / "larger" / f"{split}.json").read_text())["annotations"]
        assert many[: len(few)] == few


def test_seeds_and_splits_give_different_images(small: Path, tmp_path: Path) -> None:
    write_shapes(tmp_path / "other", SMALL.model_copy(update={"seed": 1}))
    first = [
        directory / split / "000001.png" for directory in (small, tmp_path / "other") for split in ("train", "val")
    ]
    assert len({pixels(path).tobytes() for path in first}) == 4


def test_no_crops_means_no_classification_folder(tmp_path: Path) -> None:
    write_shapes(tmp_path / "data", ShapesSettings(train=1, val=1, size=32, crops=0))
    names = {path.name for path in (tmp_path / "data").iterdir()}
    assert names == {"shapes.json", "train", "train.json", "val", "val.json"}


def test_boxes_lie_inside_the_image(scenes: list[Any]) -> None:
    for _, objects in scenes:
        for x, y, width, height in (shape.box for shape in objects):
            assert 0 <= x < x + width <= 128 and 0 <= y < y + height <= 128


def test_objects_are_from_min_object_to_half_the_image(scenes: list[Any]) -> None:
    longer = [max(shape.box[2:]) for _, objects in scenes for shape in objects]
    assert max(longer) <= 64 + 2  # rounded outwards to whole pixels on both sides
    assert min(longer) >= 0.5 * 8  # at least 60 % of the object is seen
    assert sum(side < 7 for side in longer) < 0.1 * len(longer)


def test_all_classes_and_numbers_of_objects_are_about_equally_frequent(scenes: list[Any]) -> None:
    labels = Counter(shape.label for _, objects in scenes for shape in objects)
    mean = labels.total() / len(CLASSES)
    assert set(labels) == set(range(len(CLASSES)))
    assert max(abs(count - mean) for count in labels.values()) < 0.4 * mean
    assert {len(objects) for _, objects in scenes} >= {1, 2, 3, 4, 5, 6}


def test_a_box_is_tight_around_what_differs_from_the_background() -> None:
    """Half-covered pixels at the rim may belong to the image of an object without belonging to its box."""
    for index in range(40):
        steps: list[np.ndarray] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(drawing, "_to_bytes", lambda stream, canvas: canvas)
            patch.setattr(drawing, "_paint_object", _recording(drawing._paint_object, steps))
            image, objects = draw_scene(Stream(0, "tight", index), 64, 16, 1, 0.0)
        for shape in objects:
            rows, columns = np.nonzero((image != steps[0]).any(axis=2))
            painted = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            x, y, width, height = shape.box
            gap = np.abs(painted - (x, y, x + width, y + height))
            assert gap.max() <= 2, (index, CLASSES[shape.label])


def _recording(paint: Any, steps: list[np.ndarray]) -> Any:
    """`paint`, which first keeps a copy of the canvas."""

    def wrapped(stream: Stream, canvas: np.ndarray, *rest: Any) -> None:
        steps.append(canvas.copy())
        paint(stream, canvas, *rest)

    return wrapped


def square_at(label: int, left: int, side: int) -> PlacedObject:
    corners = np.array([(0, 0), (side, 0), (side, side), (0, side)], dtype=float) + np.array([left, 0])
    patch = rasterize([corners])
    return PlacedObject(label, int(patch.mask.sum()), patch.clipped(40))


@pytest.mark.parametrize(("cover_from", "box"), [(6, (0, 0, 6, 10)), (5, None), (0, None), (10, (0, 0, 10, 10))])
def test_an_object_hidden_too_much_has_no_box(cover_from: int, box: tuple[int, ...] | None) -> None:
    owner = np.full((40, 40), drawing.NO_OBJECT)
    hidden, cover = square_at(3, 0, 10), square_at(4, cover_from, 10)
    for number, shape in enumerate((hidden, cover)):
        owner[shape.patch.window][shape.patch.mask] = number
    seen = drawing._visible(hidden, 0, owner)
    assert (seen and seen.box) == box
    assert drawing._visible(cover, 1, owner) == VisibleObject(4, (cover_from, 0, 10, 10))


def test_what_lies_outside_the_image_counts_as_hidden() -> None:
    owner = np.full((40, 40), drawing.NO_OBJECT)
    for left, box in ((34, (34, 0, 6, 10)), (35, None)):
        shape = square_at(0, left, 10)
        owner[shape.patch.window][shape.patch.mask] = left
        seen = drawing._visible(shape, left, owner)
        assert (seen and seen.box) == box


def test_a_polygon_covers_its_area_and_leaves_its_hole_open() -> None:
    patch = rasterize([circle(32, 20.0) + 30.5, circle(32, 10.0) + 30.5])
    area = patch.coverage.sum() / 4
    assert area == pytest.approx(np.pi * (20**2 - 10**2), rel=0.01)
    assert patch.coverage[20, 20] == 0 and patch.coverage[20, 5] == 4


def test_no_two_forms_look_alike() -> None:
    """At 16 pixels, at every angle, the masks of two classes differ in more than an eighth of their pixels.

    Drawn forms are tilted only a little; flips in training turn some of them over.
    """
    turns = [_turn(angle) for angle in np.linspace(0, 2 * np.pi, 48, endpoint=False)]
    upright = {name: _mask(form) for name, form in OUTLINES.items()}
    for name, form in OUTLINES.items():
        for turn in turns:
            mask = _mask(tuple(loop @ turn for loop in form))
            for other in CLASSES:
                if other != name:
                    union = (mask | upright[other]).sum()
                    assert (mask ^ upright[other]).sum() > union / 8, (name, other)


def _turn(angle: float) -> np.ndarray:
    return np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])


def _mask(form: tuple[np.ndarray, ...]) -> np.ndarray:
    """Of the form in the middle of 32 x 32 pixels, as large as a disc that is 16 pixels across."""
    patch = rasterize([loop * 8 + 16 for loop in form])
    mask = np.zeros((32, 32), dtype=bool)
    mask[patch.window] = patch.mask
    return mask


def test_objects_are_tilted_a_little_to_either_side() -> None:
    stream = Stream(0, "tilt", 0)
    tilts = np.array([stream.tilt() for _ in range(1000)])
    assert np.hypot(*tilts.T) == pytest.approx(1)
    angles = np.degrees(np.arctan2(tilts[:, 1], tilts[:, 0]))
    assert -23 < angles.min() < -20 and 20 < angles.max() < 23
    for _ in range(20):
        (arrow,) = pose(stream, OUTLINES["arrow"], 40.0)
        tip = arrow[0]
        assert tip[1] < -10 and abs(tip[0]) < 15  # up


def test_objects_have_a_dark_outline_around_what_is_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    placed: list[PlacedObject] = []
    paint = drawing._paint_object
    monkeypatch.setattr(drawing, "_to_bytes", lambda stream, canvas: canvas)
    monkeypatch.setattr(drawing, "_paint_object", lambda *given: (placed.append(given[2]), paint(*given)))
    filled: list[float] = []
    for index in range(40):
        image, _ = draw_scene(Stream(0, "outline", index), 64, 16, 1, 0.0)
        patch = placed[-1].patch
        whole, inside = patch.coverage == FULL, erode(patch.coverage, 2)
        window = image[patch.window]
        rim = whole & (erode(patch.coverage, 1) == 0)
        assert rim.any() and window[rim].max() <= drawing.DARKEST
        filled += window[inside == FULL].ravel().tolist()
    assert np.mean(filled) > 2 * drawing.DARKEST


def test_clutter_is_scaled() -> None:
    plain, usual, heavy = (draw_crop(Stream(0, "clutter", 0), 0, 64, amount) for amount in (0.0, 1.0, 3.0))
    assert not np.array_equal(plain, usual) and not np.array_equal(usual, heavy)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_in_the_way_is_named_and_left_alone(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "taken"
    mine = target / "mine.txt" if kind == "folder" else target
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("keep me")
    with pytest.raises(UserError, match=r"taken is not an empty directory.*") as refusal:
        write_shapes(target, SMALL)
    assert "\n" not in str(refusal.value)
    assert mine.read_text() == "keep me"
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_an_empty_directory_is_filled_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    write_shapes(tmp_path / "link", ShapesSettings(train=1, val=1, size=32, crops=0))
    assert (tmp_path / "empty" / "train" / "000001.png").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("train", 0),
        ("val", 0),
        ("size", 16),
        ("crop_size", 8),
        ("min_object", 40),
        ("min_object", 3),
        ("max_objects", 0),
    ],
)
def test_numbers_that_make_no_sense_are_refused(field: str, value: int) -> None:
    with pytest.raises(ValidationError, match=field):
        ShapesSettings(**SMALL.model_dump() | {field: value})


def test_fewer_crops_than_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="shapes: crops is 5: "):
        write_shapes(tmp_path / "data", SMALL.model_copy(update={"crops": 5}))
    assert not any(tmp_path.iterdir())


def test_a_write_that_fails_midway_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, saved = write._save, []

    def save_until_the_disk_is_full(image: np.ndarray, path: Path) -> None:
        if len(saved) == 10:
            raise OSError("no space left on device")
        save(image, path)
        saved.append(path)

    monkeypatch.setattr(write, "_save", save_until_the_disk_is_full)
    with pytest.raises(UserError, match=r"data: cannot be written \(no space left"):
        write_shapes(tmp_path / "data", SMALL)
    assert len(saved) == 10
    assert not any(tmp_path.iterdir())
