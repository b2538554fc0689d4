"""The COCO format: one JSON file for each split."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from detnas.data.find_images import FileFinder
from detnas.data.formats.base import SPLIT_NAMES, DatasetFormat, Query, Source, Split
from detnas.data.formats.coco.read import load_coco
from detnas.utils.files import is_file

JSON_OBJECT = re.compile(rb'(\xef\xbb\xbf)?\s*\{\s*["}]')
"""The beginning of a JSON object, perhaps after a byte order mark."""


class CocoFormat(DatasetFormat[Query]):
    """Its location is a query that names an annotation file."""

    name = "COCO"
    files = "COCO file"
    layout = "train.json (COCO) and the images in train/"

    def find(self, query: Query) -> Sequence[Query]:
        if query.name is not None:
            return [query] if _is_json(query.file) else []
        found = next(_usual_files(query.directory, query.split), None)
        return [replace(query, name=str(found.relative_to(query.directory)))] if found else []

    def read(self, location: Query) -> Source:
        tree = load_coco(location.file)
        images = location.images_folder() or _image_folder(location.directory, location.file, tree)
        return Source(self, location.file, images, tree)


def _is_json(file: Path) -> bool:
    """Whether a file, which need not exist, is named .json or begins as a JSON object."""
    if file.suffix.lower() == ".json" or not is_file(file):
        return file.suffix.lower() == ".json"
    try:
        with file.open("rb") as content:
            return JSON_OBJECT.match(content.read(100)) is not None
    except OSError:
        return False


def _usual_files(directory: Path, split: Split) -> Iterator[Path]:
    """The files of a split in the usual layouts, the most likely first."""
    for name in SPLIT_NAMES[split]:
        for pattern in (
            f"{name}.json",
            f"annotations/{name}.json",
            f"{name}/_annotations.coco.json",
            f"annotations/instances_{name}*.json",
            f"instances_{name}*.json",
        ):
            yield from sorted(directory.glob(pattern))
    if split == "train":
        for name in ("annotations.json", "instances.json", "_annotations.coco.json"):
            yield from directory.glob(name)


def _image_folder(directory: Path, annotations: Path, tree: dict[str, Any]) -> Path:
    """The folder that contains the first image of the file; the most likely one if none does."""
    stem = annotations.stem.removeprefix("instances_")
    folders = [directory / "images" / stem, directory / stem, directory / "images", annotations.parent, directory]
    most_likely = next((folder for folder in folders if folder.is_dir()), directory)
    if not tree["images"]:
        return most_likely
    first = tree["images"][0]["file_name"]
    exact = (folder for folder in folders if is_file(folder / first))
    similar = (folder for folder in folders if FileFinder(folder).find(first))
    return next(chain(exact, similar), most_likely)
