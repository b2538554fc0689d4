"""Layouts of YOLO data sets: a YAML file with the classes and the images of each split (Ultralytics, Roboflow)."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from detnas.config.limits import MOST_CATEGORIES
from detnas.data.decoding import EXTENSIONS
from detnas.data.find_images import FileFinder, list_files
from detnas.data.formats.base import SPLIT_NAMES, Split, check_name
from detnas.utils.errors import UserError
from detnas.utils.files import is_file, is_folder, read_bounded, read_lines
from detnas.utils.text import describe_value
from detnas.utils.yaml_text import parse_yaml

YAML = (".yaml", ".yml")
USUAL = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
"""Usual names of the YAML file. Other YAML files are recognized by their keys."""
MOST_BYTES, MOST_NODES = 2**20, 50_000
"""Of a YAML file: enough for a number and a name for each of the most categories."""


class YoloSet(NamedTuple):
    """One split of a YOLO data set: its YAML file, its classes by number, and its files, named relative to `images`."""

    description: Path
    names: dict[int, str]
    images: Path
    files: tuple[Path, ...]
    renamed: tuple[str, ...] = ()
    """Of the files of a list, those that are called otherwise there, described."""


def find_yaml(directory: Path) -> Path | None:
    """The YAML file of a YOLO data set in `directory`; None if there is none."""
    for name in USUAL:
        if is_file(directory / name):
            return directory / name
    for file in list_files(directory, YAML, deep=False):
        try:
            tree = _read(file)
        except UserError:
            continue
        if tree.keys() & {"names", "nc"} and tree.keys() & {"train", "val"}:
            return file
    return None


def read_split(file: Path, split: Split, images: str | None = None) -> YoloSet | None:
    """A split of the YAML file `file`; None if it has none. `images`, if given, replaces the entry of the split.

    Raises `UserError`, naming file, key and value, if the file is not of a YOLO data set or its images are missing.
    """
    tree = _read(file)
    names = _names(file, tree)
    stated = tree.get("path") or "."
    root = file.parent / stated if isinstance(stated, str) else file.parent
    if not is_folder(root):
        root = file.parent  # the path is of another machine
    entries = {key: tree[key] for key in SPLIT_NAMES[split] if tree.get(key)} if images is None else {"images": images}
    labels = LabelFinder()
    for key, entry in entries.items():
        renamed: list[str] = []
        try:
            files = tuple(dict.fromkeys(_images(file, root, key, entry, renamed)))
        except UserError:
            if key == "test":
                continue
            raise
        if key != "test" or any(map(labels.find, files)):
            return YoloSet(file, names, root, files, tuple(renamed))
    return None


class LabelFinder:
    """Finds the label files of images. It lists each folder at most once, and only if it must."""

    def __init__(self) -> None:
        self._finders: dict[Path, FileFinder] = {}

    def find(self, image: Path) -> Path | None:
        """The label file of an image: in labels/ if it is in images/, or beside it. None if there is none."""
        for folder in label_folders(image.parent):
            finder = self._finders.setdefault(folder, FileFinder(folder, (".txt",), exact=True))
            if found := finder.find(f"{image.stem}.txt"):
                return folder / found
        return None


def label_folders(images: Path) -> list[Path]:
    """Where the labels of the images in a folder may lie: with labels/ for the last images/ in its path, or there."""
    return [*_exchanged(images, "images", "labels"), images]


def image_folders(labels: Path) -> list[Path]:
    """Where the images of the labels in a folder may lie."""
    return [*_exchanged(labels, "labels", "images"), labels]


def _exchanged(folder: Path, old: str, new: str) -> list[Path]:
    parts = list(folder.parts)
    places = [place for place, part in enumerate(parts) if part == old]
    return [Path(*parts[: places[-1]], new, *parts[places[-1] + 1 :])] if places else []


def _read(file: Path) -> dict[str, Any]:
    try:
        # The base loader reads scalars as text: a class may be called no, or 7.
        tree = parse_yaml(read_bounded(file, MOST_BYTES), yaml.BaseLoader, most_nodes=MOST_NODES)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); name another by data.train or data.val") from None
    except ValueError as error:
        raise UserError(f"{file}: not YAML ({error}); write a YOLO data.yaml") from None
    if not isinstance(tree, dict):
        raise UserError(f"{file}: not a YOLO data.yaml; it must hold the keys train, val and names")
    if tree.get("kpt_shape"):
        raise UserError(f"{file}: kpt_shape: these labels are poses; export the data set with boxes")
    return tree


def _names(file: Path, tree: dict[str, Any]) -> dict[int, str]:
    given = tree.get("names")
    count = _parse_integer(tree.get("nc"))
    if tree.get("nc") and (count is None or count > MOST_CATEGORIES):
        raise UserError(
            f"{file}: nc is not a number of classes but {describe_value(tree['nc'])}; write how many, at most "
            f"{MOST_CATEGORIES:,}, or leave it out"
        )
    if not given and count:
        return {number: f"class {number}" for number in range(count)}
    pairs: Any = dict(enumerate(given)) if isinstance(given, list) else given
    names: dict[int, str] = {}
    for key, name in pairs.items() if isinstance(pairs, dict) else ():
        number = key if isinstance(key, int) else _parse_integer(key)
        if number is None or not isinstance(name, str) or number in names:
            entry = f"{describe_value(key)}: {describe_value(name)}"
            raise UserError(
                f"{file}: names has no name for each class (it has {entry}); write a list of names, or number: name"
            )
        check_name(name, f"{file}: names: {number}")
        names[number] = name
    if not names:
        raise UserError(
            f"{file}: names: no class is named by {describe_value(given)}; write a list of names, or number: name"
        )
    if count is not None and count != len(names):
        raise UserError(f"{file}: nc is {count}, but names has {len(names)}; make them agree, or leave out nc")
    return names


def _parse_integer(text: Any) -> int | None:
    """The number 0 or greater that `text` is, else None."""
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 10 else None


def _images(file: Path, root: Path, key: str, entry: Any, renamed: list[str]) -> Iterator[Path]:
    """The images of an entry: a folder, a .txt file that lists images, or a list of these.

    Appends to `renamed` what `YoloSet.renamed` holds.
    """
    for one in entry if isinstance(entry, list) else [entry]:
        if not isinstance(one, str):
            raise UserError(
                f"{file}: {key} is neither a folder nor a list of them but {describe_value(one)}; write for example "
                "images/train"
            )
        # Roboflow writes ../train/images for a folder beside the file.
        places = [root / one, root / one.removeprefix("../"), file.parent / one]
        if "\\" in one:
            places.append(root / one.replace("\\", "/"))
        place = next((place for place in places if os.path.exists(place)), None)  # noqa: PTH110
        if place is None:
            raise UserError(
                f"{file}: {key}: {one}: there is no {places[0]}; fix it, or name the folder by data.train_images or "
                "data.val_images"
            )
        found = list_files(place, EXTENSIONS) if place.is_dir() else list(_in_list(place, root, renamed))
        if not found:
            raise UserError(f"{file}: {key}: {place} has no image ({', '.join(EXTENSIONS)}); name another folder")
        yield from found


def _in_list(file: Path, root: Path, renamed: list[str]) -> Iterator[Path]:
    lines = read_lines(file, "a list of images", "name a folder, or a list with one file a line")
    finders = FileFinder(root), FileFinder(file.parent)
    for line in filter(None, map(str.strip, lines)):
        exact = next(filter(is_file, (file.parent / line, root / line)), None)
        similar = (finder.folder / found for finder in finders if (found := finder.find(line)))
        image = exact or next(similar, None)
        if image and not exact:
            renamed.append(f"{line} in {file} is {image}")
        yield image or root / line
