"""Writing the embedded data set `shapes`: shapes with random textures on cluttered backgrounds, for trials and tests.

It is a function of a seed, the same pixels on every machine, and written as COCO JSON with PNG images and as an image
folder by class, so that it goes through the same loaders as real data.
"""

from __future__ import annotations

import json
import tempfile
import zlib
from pathlib import Path
from typing import Any

from PIL import Image

from detnas.data.shapes.render import Stream
from detnas.data.shapes.scenes import CLASSES, Pixels, VisibleObject, draw_crop, draw_scene
from detnas.utils.errors import UserError
from detnas.utils.files import write_json

PARAMETERS = "shapes.json"
"""The file that holds the arguments of `write_shapes`."""


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
    """Write the data set to `directory`, completely or not at all.

    `train.json` and `val.json` (COCO; file names relative to `train/` and `val/`) describe `train` and `val` scenes of
    size x size pixels with 1..max_objects objects whose longer side is `min_object` pixels to half the image; an
    object that is visible by less than 60 % has no box. `classification/train/<class>/` holds `crops` images of one
    object each, `classification/val/<class>/` a tenth as many, but at least one of each class; `crops=0` writes none.
    `clutter` scales the amount of clutter; 0 draws none. An image depends on the seed, its split and its number, not on
    the number of images. `shapes.json` holds all these arguments.

    Raises `UserError` if `directory` exists and is not empty, or if an argument is out of range.
    """
    _check_parameters(train, val, size, crops, crop_size, min_object, max_objects, clutter)
    _check_free(directory)
    directory = directory.resolve()  # "." and links are not beside the directory that is renamed
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
        parameters: dict[str, float] = {
            "train": train,
            "val": val,
            "size": size,
            "crops": crops,
            "crop_size": crop_size,
        }
        parameters |= {"min_object": min_object, "max_objects": max_objects, "clutter": clutter, "seed": seed}
        write_json(unfinished / PARAMETERS, parameters)
        if directory.exists():
            directory.rmdir()
        unfinished.rename(directory)


def _write_crops(directory: Path, split: str, count: int, size: int, clutter: float, seed: int) -> None:
    for name in CLASSES if count else ():
        (directory / name).mkdir(parents=True)
    for index in range(count):
        number, label = divmod(index, len(CLASSES))
        image = draw_crop(Stream(seed, f"classification/{split}", index), label, size, clutter)
        _save(image, directory / CLASSES[label] / f"{number + 1:05d}.png")


def _save(image: Pixels, path: Path) -> None:
    # Noise has no repetitions: Huffman codes alone are faster than deflate at level 1, and shorter.
    Image.fromarray(image).save(path, compress_level=1, compress_type=zlib.Z_HUFFMAN_ONLY)


def _coco(scenes: list[list[VisibleObject]], size: int) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, objects in enumerate(scenes, start=1):
        images.append({"id": image_id, "file_name": f"{image_id:06d}.png", "width": size, "height": size})
        for shape in objects:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": shape.label + 1,
                    "bbox": list(shape.box),
                    "area": shape.box[2] * shape.box[3],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _check_free(directory: Path) -> None:
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise UserError(f"{directory} is not an empty directory: name a new one, or empty it first")


def _check_parameters(
    train: int, val: int, size: int, crops: int, crop_size: int, min_object: int, max_objects: int, clutter: float
) -> None:
    checks = (
        (train >= 1, f"train is {train}: ask for at least 1 image"),
        (val >= 1, f"val is {val}: ask for at least 1 image"),
        (size >= 32, f"size is {size}: ask for at least 32 pixels"),
        (crops == 0 or crops >= len(CLASSES), f"crops is {crops}: ask for 0, or for at least {len(CLASSES)} (classes)"),
        (crop_size >= 16, f"crop_size is {crop_size}: ask for at least 16 pixels"),
        (4 <= min_object <= size / 2, f"min_object is {min_object}: ask for 4 to {size // 2}, half the image"),
        (max_objects >= 1, f"max_objects is {max_objects}: ask for at least 1"),
        (clutter >= 0, f"clutter is {clutter}: it must be 0 (none) or more"),
    )
    for is_valid, message in checks:
        if not is_valid:
            raise UserError(f"shapes: {message}")
