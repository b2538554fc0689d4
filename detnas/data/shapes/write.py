"""Writing the embedded data set `shapes`: shapes with random textures on cluttered backgrounds, for trials and tests.

It is a function of a seed, the same pixels on every machine, and written as COCO JSON with PNG images and as an image
folder by class, so that it goes through the same loaders as real data.
"""

import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from detnas.config import ShapesSettings
from detnas.data.formats.coco.write import make_coco
from detnas.data.shapes.render import Stream
from detnas.data.shapes.scenes import CLASSES, Pixels, draw_crop, draw_scene
from detnas.utils.errors import UserError
from detnas.utils.files import explain_unwritable, is_file, read_bounded, real_path, temporary_folder, write_json

PARAMETERS = "shapes.json"


def prepare_shapes(directory: Path, settings: ShapesSettings, *, log: Callable[[str], None]) -> None:
    """Draw the data set that `settings` describe into `directory`, unless it is there. `log` is called before drawing.

    Raises `UserError` if the folder exists and was not written by `write_shapes`: it may hold anything.
    """
    if os.path.lexists(directory):
        if _read_parameters(directory) == settings.model_dump(mode="json"):
            return
        # A killed process must not leave a part of the folder under its name.
        with temporary_folder(directory.parent, _prefix(directory)) as aside, explain_unwritable(directory):
            directory.rename(aside / directory.name)
    log(f"Drawing the data set: {directory}")
    write_shapes(directory, settings)


def _read_parameters(directory: Path) -> Any:
    """What shapes.json holds. Raises `UserError` if it is missing or damaged."""
    parameters = directory / PARAMETERS
    try:
        return json.loads(read_bounded(parameters))
    except (OSError, ValueError, RecursionError) as error:
        reason = f"its {PARAMETERS} is damaged" if is_file(parameters) else "exists and was not drawn for this run"
        cause = getattr(error, "strerror", None) or "it does not hold JSON"
        raise UserError(f"{directory}: {reason} ({cause}); remove {directory}, or choose another --out") from None


def _prefix(directory: Path) -> str:
    """How the names of temporary folders beside `directory` begin. Not its whole name, which may be as long as any."""
    return f".{directory.name[:20]}-"


def write_shapes(directory: Path, settings: ShapesSettings) -> None:
    """Write the data set that `settings` describe to `directory`, completely or not at all.

    `train.json` and `val.json` (COCO; file names relative to `train/` and `val/`) describe scenes with objects whose
    longer side is `min_object` pixels to half the image; an object that is visible by less than 60 % has no box.
    `classification/train/<class>/` holds `crops` images of one object each, `classification/val/<class>/` a tenth as
    many, but at least one of each class. An image depends on the seed, its split and its number, not on the number of
    images. `shapes.json` holds the settings.

    Raises `UserError` if `directory` exists and is not empty, or if there are fewer crops than classes.
    """
    if 0 < settings.crops < len(CLASSES):
        raise UserError(f"shapes: crops is {settings.crops}: ask for 0, or for at least {len(CLASSES)} (classes)")
    with explain_unwritable(directory):
        if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
            raise UserError(f"{directory} is not an empty directory: name a new one, or empty it first")
    directory = real_path(directory)  # "." and links are not beside the directory that is renamed
    with temporary_folder(directory.parent, _prefix(directory)) as temporary, explain_unwritable(directory):
        # One level down, because the temporary directory itself is readable by its owner only.
        unfinished = temporary / "shapes"
        _draw(unfinished, settings)
        if directory.exists():
            directory.rmdir()
        unfinished.rename(directory)


def _draw(directory: Path, settings: ShapesSettings) -> None:
    """Draw the data set into a new directory."""
    size, crops, clutter, seed = settings.size, settings.crops, settings.clutter, settings.seed
    for split, count in (("train", settings.train), ("val", settings.val)):
        (directory / split).mkdir(parents=True)
        scenes = {}
        for index in range(count):
            stream, name = Stream(seed, split, index), f"{index + 1:06d}.png"
            image, objects = draw_scene(stream, size, settings.min_object, settings.max_objects, clutter)
            _save(image, directory / split / name)
            scenes[name] = (size, size), [(shape.label, shape.box) for shape in objects]
        (directory / f"{split}.json").write_text(json.dumps(make_coco(scenes, CLASSES)))
    for split, count in (("train", crops), ("val", max(crops // 10, len(CLASSES)) if crops else 0)):
        _write_crops(directory / "classification" / split, split, count, settings.crop_size, clutter, seed)
    write_json(directory / PARAMETERS, settings.model_dump(mode="json"))


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
