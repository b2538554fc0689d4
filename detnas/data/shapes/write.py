"""The embedded data set `shapes`: plain forms with random textures on cluttered grounds, for trials and tests.

Made from a seed, the same pixels on every machine, and written as COCO JSON with PNG images and as a folder of
images by class, so that it goes through the loaders that real data goes through. Only the form tells the class:
color, texture, size and direction are drawn independently of it. How things are drawn is in `shapes_render`.
"""

from __future__ import annotations

import json
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from detnas.data.shapes.render import (
    FULL,
    Floats,
    Ints,
    Patch,
    Stream,
    add_clutter,
    circle,
    eroded,
    ground,
    paint,
    posed,
    rasterize,
    texture,
    visible_colors,
)
from detnas.utils.errors import UserError
from detnas.utils.files import write_json

Pixels = npt.NDArray[np.uint8]

LEAST_VISIBLE = 0.6  # an object of which less is seen carries no box
NOBODY = -1  # the owner of a pixel that no object covers
NUMBERS = "shapes.json"  # what a data set was drawn with
DARKEST = 40  # the brightest that a channel of an outline can be


def _crescent() -> Floats:
    tip_x, tip_y = 0.625, 0.7806  # where the circle and the bite out of it meet
    outer = [point for point in circle(32) if point[0] < tip_x]
    bite = [point for point in circle(32, 0.8, 0.45) if point[0] < tip_x]
    return np.array([(tip_x, tip_y), *outer, (tip_x, -tip_y), *reversed(bite)])


def _rectangle(half_width: float, half_height: float) -> Floats:
    w, h = half_width, half_height
    return np.array([(-w, -h), (w, -h), (w, h), (-w, h)])


_STAR = [(0.0, -1.0), (0.2351, -0.3236), (0.9511, -0.3090), (0.3804, 0.1236), (0.5878, 0.8090),
         (0.0, 0.4), (-0.5878, 0.8090), (-0.3804, 0.1236), (-0.9511, -0.3090), (-0.2351, -0.3236)]  # fmt: skip
_CROSS = [(-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3),
          (0.3, 1), (-0.3, 1), (-0.3, 0.3), (-1, 0.3), (-1, -0.3), (-0.3, -0.3)]  # fmt: skip
_ARROW = [(0, -1.1), (0.9, 0), (0.3, 0), (0.3, 1.1), (-0.3, 1.1), (-0.3, 0), (-0.9, 0)]
_HOURGLASS = [(-0.8, -1), (0.8, -1), (0.15, 0), (0.8, 1), (-0.8, 1), (-0.15, 0)]
_CORNER = [(-1, -1), (-0.35, -1), (-0.35, 0.35), (1, 0.35), (1, 1), (-1, 1)]
_TRIANGLE = [(0.0, -1.0), (0.866, 0.5), (-0.866, 0.5)]

# The outline first, then holes. Every form is its own mirror image, so that flipped images keep their class.
_FORMS: dict[str, tuple[Floats, ...]] = {
    "disc": (circle(32),),
    "ring": (circle(32), circle(32, 0.55)),
    "square": (_rectangle(1, 1),),
    "frame": (_rectangle(1, 1), _rectangle(0.55, 0.55)),
    "triangle": (np.array(_TRIANGLE),),
    "cross": (np.array(_CROSS),),
    "star": (np.array(_STAR),),
    "crescent": (_crescent(),),
    "bar": (_rectangle(1, 0.22),),
    "arrow": (np.array(_ARROW),),
    "corner": (np.array(_CORNER),),
    "hourglass": (np.array(_HOURGLASS),),
}
CLASSES: tuple[str, ...] = tuple(_FORMS)


@dataclass(frozen=True)
class VisibleObject:
    """An object that carries a box: an index into `CLASSES`, and x, y, width, height of its visible pixels."""

    label: int
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class _Placed:
    label: int
    pixels: int  # of the whole object, also of what lies outside the image
    patch: Patch  # the part inside the image


def write_shapes(
    directory: Path,
    *,
    train: int,
    val: int,
    size: int = 128,
    crops: int = 4000,
    crop_size: int = 64,
    min_object: int = 8,
    max_objects: int = 6,
    clutter: float = 1.0,
    seed: int = 0,
) -> None:
    """Write the data set under `directory`: all of it or nothing.

    `train.json` and `val.json` (COCO; file names relative to `train/` and `val/`) describe `train` and `val` scenes of
    size x size pixels with 1..max_objects objects whose longer side is `min_object` pixels to half the image; an
    object of which too little is visible has no box. `classification/train/<class>/` holds `crops` images of one
    object each, `classification/val/<class>/` a tenth as many more, at least one of each class; `crops=0` leaves them
    out. `clutter` scales the clutter; 0 draws none. An image depends on the seed, its split and its number, never on
    how many are asked for. `shapes.json` holds all these numbers.

    Raises UserError if `directory` is neither missing nor empty, or if a number makes no sense.
    """
    _check_numbers(train, val, size, crops, crop_size, min_object, max_objects, clutter)
    _check_free(directory)
    directory = directory.resolve()  # "." and links have no place beside them to rename from
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{directory.name}-", dir=directory.parent) as temporary:
        # One level down, because the temporary directory itself is readable by its owner only.
        unfinished = Path(temporary) / "shapes"
        for split, count in (("train", train), ("val", val)):
            images = unfinished / split
            images.mkdir(parents=True)
            scenes = []
            for index in range(count):
                image, objects = draw_scene(Stream(seed, split, index), size, min_object, max_objects, clutter)
                _save(image, images / f"{index + 1:06d}.png")
                scenes.append(objects)
            (unfinished / f"{split}.json").write_text(json.dumps(_coco(scenes, size)))
        for split, count in (("train", crops), ("val", max(crops // 10, len(CLASSES)) if crops else 0)):
            _write_crops(unfinished / "classification" / split, split, count, crop_size, clutter, seed)
        numbers: dict[str, float] = {"train": train, "val": val, "size": size, "crops": crops, "crop_size": crop_size}
        numbers |= {"min_object": min_object, "max_objects": max_objects, "clutter": clutter, "seed": seed}
        write_json(unfinished / NUMBERS, numbers)
        if directory.exists():
            directory.rmdir()
        unfinished.rename(directory)


def draw_scene(
    stream: Stream, size: int, min_object: int, max_objects: int, clutter: float
) -> tuple[Pixels, list[VisibleObject]]:
    """One image (size, size, 3) for detection and its objects, the ones in front last."""
    canvas = ground(stream, size)
    add_clutter(stream, canvas, clutter)
    owner = np.full((size, size), NOBODY)
    placed = []
    for number in range(1 + stream.below(max_objects)):
        extent = stream.log_uniform(min_object, size / 2)
        thing = _place(stream, stream.below(len(CLASSES)), extent, size, _free_center(stream, owner, extent))
        _paint_object(stream, canvas, thing, extent)
        owner[thing.patch.window][thing.patch.mask] = number
        placed.append(thing)
    visible = [_visible(thing, number, owner) for number, thing in enumerate(placed)]
    return _finished(stream, canvas), [thing for thing in visible if thing is not None]


def draw_crop(stream: Stream, label: int, size: int, clutter: float) -> Pixels:
    """One image (size, size, 3) for classification: one object near the middle, sometimes another across its edge."""
    canvas = ground(stream, size)
    add_clutter(stream, canvas, clutter)
    extent = stream.uniform(0.5, 0.9) * size
    slack = (size - extent) / 2
    thing = _place(stream, label, extent, size, size / 2 + (stream.array(2) * 2 - 1) * slack)
    _paint_object(stream, canvas, thing, extent)
    if stream.below(3) == 0:
        _cover_edge(stream, canvas, thing, extent)
    return _finished(stream, canvas)


def _free_center(stream: Stream, owner: Ints, extent: float) -> Floats:
    """A place for an object, which may reach out of the image a little, if possible not on top of another object."""
    size = len(owner)
    for _ in range(4):
        center = 0.35 * extent + stream.array(2) * (size - 0.7 * extent)
        if owner[int(center[1]), int(center[0])] == NOBODY:
            break
    return center


def _place(stream: Stream, label: int, extent: float, size: int, center: Floats) -> _Placed:
    loops = posed(stream, _FORMS[CLASSES[label]], extent)
    whole = rasterize([loop + center for loop in loops])
    return _Placed(label, int(whole.mask.sum()), whole.clipped(size))


def _paint_object(stream: Stream, canvas: Floats, thing: _Placed, extent: float) -> None:
    hidden_ground = canvas[thing.patch.window][thing.patch.mask].astype(np.int64)  # integers: their sum is exact
    first, second = visible_colors(stream, hidden_ground.sum(axis=0) / max(len(hidden_ground), 1))
    fill = first + (second - first) * texture(stream, thing.patch, extent)[:, :, None]
    outline = stream.array(3) * DARKEST
    inside = eroded(thing.patch.coverage, 1 if extent < 32 else 2) / FULL
    paint(canvas, thing.patch, outline + (fill - outline) * inside[:, :, None])


def _cover_edge(stream: Stream, canvas: Floats, thing: _Placed, extent: float) -> None:
    size = len(canvas)
    cosine, sine = stream.turn()
    center = size / 2 + np.array([cosine, sine]) * (0.55 * extent)
    cover = _place(stream, stream.below(len(CLASSES)), extent * stream.uniform(0.3, 0.8), size, center)
    free = np.zeros((size, size), dtype=bool)
    free[thing.patch.window] = thing.patch.mask
    free[cover.patch.window] &= ~cover.patch.mask
    if free.sum() >= 0.7 * thing.pixels:
        _paint_object(stream, canvas, cover, extent)


def _visible(thing: _Placed, number: int, owner: Ints) -> VisibleObject | None:
    rows, columns = np.nonzero(owner[thing.patch.window] == number)
    if len(rows) == 0 or len(rows) < LEAST_VISIBLE * thing.pixels:
        return None
    x, y = thing.patch.left + int(columns.min()), thing.patch.top + int(rows.min())
    return VisibleObject(thing.label, (x, y, int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1))


def _finished(stream: Stream, canvas: Floats) -> Pixels:
    """The canvas as bytes, with a little noise over everything. The canvas is used up."""
    noise = stream.array(*canvas.shape)
    noise -= 0.5
    noise *= stream.uniform(4, 16)
    canvas += noise
    np.clip(canvas, 0, 255, out=canvas)
    canvas += 0.5
    return canvas.astype(np.uint8)


def _write_crops(directory: Path, split: str, count: int, size: int, clutter: float, seed: int) -> None:
    for name in CLASSES if count else ():
        (directory / name).mkdir(parents=True)
    for index in range(count):
        number, label = divmod(index, len(CLASSES))
        image = draw_crop(Stream(seed, f"classification/{split}", index), label, size, clutter)
        _save(image, directory / CLASSES[label] / f"{number + 1:05d}.png")


def _save(image: Pixels, path: Path) -> None:
    # The noise leaves nothing to look up: Huffman codes alone are quicker than level 1 with look-up, and shorter.
    Image.fromarray(image).save(path, compress_level=1, compress_type=zlib.Z_HUFFMAN_ONLY)


def _coco(scenes: list[list[VisibleObject]], size: int) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, objects in enumerate(scenes, start=1):
        images.append({"id": image_id, "file_name": f"{image_id:06d}.png", "width": size, "height": size})
        for thing in objects:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": thing.label + 1,
                    "bbox": list(thing.box),
                    "area": thing.box[2] * thing.box[3],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _check_free(directory: Path) -> None:
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise UserError(f"{directory} is not an empty directory: name a new one, or empty it first")


def _check_numbers(
    train: int, val: int, size: int, crops: int, crop_size: int, min_object: int, max_objects: int, clutter: float
) -> None:
    demands = (
        (train >= 1, f"train is {train}: ask for at least 1 image"),
        (val >= 1, f"val is {val}: ask for at least 1 image"),
        (size >= 32, f"size is {size}: ask for at least 32 pixels"),
        (crops == 0 or crops >= len(CLASSES), f"crops is {crops}: ask for 0, or for at least {len(CLASSES)} (classes)"),
        (crop_size >= 16, f"crop_size is {crop_size}: ask for at least 16 pixels"),
        (4 <= min_object <= size / 2, f"min_object is {min_object}: ask for 4 to {size // 2}, half the image"),
        (max_objects >= 1, f"max_objects is {max_objects}: ask for at least 1"),
        (clutter >= 0, f"clutter is {clutter}: it must be 0 (none) or more"),
    )
    for holds, complaint in demands:
        if not holds:
            raise UserError(f"shapes: {complaint}")
