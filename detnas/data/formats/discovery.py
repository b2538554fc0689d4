"""Finding a data set: as the recipe names its files, or in a usual layout of one of `FORMATS`."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

from detnas.config import DataSettings
from detnas.data.find_images import FileFinder
from detnas.data.formats.base import DatasetFormat, Query, Source, Split
from detnas.data.formats.registry import FORMATS
from detnas.data.validation import READERS, describe, issue_of, renamed_issue
from detnas.utils.errors import UserError

Format = DatasetFormat[Any]
OTHER: dict[Split, Split] = {"train": "val", "val": "train"}


def find_sources(directory: Path, settings: DataSettings) -> dict[Split, tuple[Source, ...]]:
    """The sources of `train` and, if there are any, of `val`, read. Raises `UserError` if there is none for `train`."""
    found = {split: find_split(directory, settings, split) for split in OTHER}
    if not found["train"]:
        raise nothing_found(directory)
    return {split: sources for split, sources in found.items() if sources}


def find_split(directory: Path, settings: DataSettings, split: Split) -> tuple[Source, ...]:
    """The sources of one split, read, if any. Raises `UserError` for a missing folder or a malformed file."""
    if not directory.is_dir():
        raise UserError(f"--data {directory}: no such folder; name the folder that holds your data set")
    queries = _queries(directory, settings, split)
    found = [format.read(location) for format, query in queries for location in format.find(query)]
    return tuple(_without_repeats(_with_found_images(source)) for source in found)


def _with_found_images(source: Source) -> Source:
    """A source whose images have the names of the files that are meant."""
    finder, images = FileFinder(source.images), source.tree["images"]
    with ThreadPool(READERS) as pool:
        found = pool.map(finder.find, [image["file_name"] for image in images])
    pairs = [(image, file or image["file_name"]) for image, file in zip(images, found, strict=True)]
    renamed = [f"{image['file_name']} is {name}" for image, name in pairs if name != image["file_name"]]
    if not renamed:
        return source
    tree = {**source.tree, "images": [{**image, "file_name": name} for image, name in pairs]}
    return replace(source, tree=tree, issues=(*source.issues, *renamed_issue(renamed)))


def _without_repeats(source: Source) -> Source:
    """A source with each of its boxes once: two on one object would each make a detection of it wrong."""
    first: dict[tuple[Any, ...], dict[str, Any]] = {}
    repeats = []
    for annotation in source.tree["annotations"]:
        key = (annotation["image_id"], annotation["category_id"], *annotation["bbox"], bool(annotation.get("iscrowd")))
        if first.setdefault(key, annotation) is not annotation:
            repeats.append(describe(annotation))
    if not repeats:
        return source
    what = "boxes that repeat another of the same image and category, read once"
    issues = (*source.issues, *issue_of(what, repeats, fatal=False))
    return replace(source, tree={**source.tree, "annotations": list(first.values())}, issues=issues)


def _queries(directory: Path, settings: DataSettings, split: Split) -> list[tuple[Format, Query]]:
    """What to ask of which format: for each name in the recipe, or else for what lies in a usual layout.

    Without a name, the format is that of the other split, if the recipe names it, or else the one that is recognized.
    """
    images = {"train": settings.train_images, "val": settings.val_images}[split]
    if names := settings.names_of(split):
        return [(_format_of(directory, split, name), Query(directory, split, name, images)) for name in names]
    other_names: dict[Format, list[str]] = {}
    for name in settings.names_of(OTHER[split]):
        other_names.setdefault(_format_of(directory, OTHER[split], name), []).append(name)
    return [
        (format, Query(directory, split, images=images, other_names=tuple(other_names.get(format, ()))))
        for format in other_names or _recognized(directory)
    ]


def nothing_found(directory: Path) -> UserError:
    """The refusal of a folder without a training set."""
    layouts = ", or ".join(format.layout for format in FORMATS.values())
    state = "is empty" if not any(directory.iterdir()) else f"holds no {_all_files()} that is found by itself"
    return UserError(f"--data {directory}: the folder {state}; put {layouts} there, or name the file by data.train")


def _format_of(directory: Path, split: Split, name: str) -> Format:
    """The first format to which a name in the recipe belongs."""
    for format in FORMATS.values():
        if format.find(Query(directory, split, name=name)):
            return format
    raise UserError(f"{directory / name}: cannot be read (no {_all_files()}); name another by data.{split}")


def _all_files() -> str:
    """What the formats look for, as the end of a sentence."""
    *files, last = (format.files for format in FORMATS.values())
    return f"{', '.join(files)} or {last}"


def _recognized(directory: Path) -> Sequence[Format]:
    """The first format with a training set in a usual layout, or else with a validation set; empty if there is none."""
    found = (format for split in OTHER for format in FORMATS.values() if format.find(Query(directory, split)))
    return list(islice(found, 1))
