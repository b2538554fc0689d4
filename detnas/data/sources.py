"""From a data folder to the sets of a run: training, search split, validation."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detnas.config import DataSettings
from detnas.data.coco import detection_set, load_tree
from detnas.data.detection import DetectionSet
from detnas.errors import UserError
from detnas.files import is_file
from detnas.seeds import seed_of

SPLIT_NAMES = {"train": ("train",), "val": ("val", "valid", "validation", "test")}


@dataclass(frozen=True)
class Source:
    """One annotation file and the folder of its pictures."""

    annotations: Path
    images: Path
    tree: dict[str, Any]
    """What the annotation file holds."""

    def read(self, settings: DataSettings) -> DetectionSet:
        drop = settings.bad_boxes == "drop"
        return detection_set(self.tree, self.annotations, self.images, drop_bad_boxes=drop)


@dataclass(frozen=True)
class RunData:
    """The sets of a run.

    `train` is all there is to train on: the final networks learn from it. The supernet learns from `fit`, and
    candidates are judged on `search`; together these two are `train`. `val` reports results and steers nothing.
    """

    directory: Path
    train: DetectionSet
    fit: DetectionSet
    search: DetectionSet
    val: DetectionSet
    description: str
    """Which files were found, for people to read."""

    def fingerprint(self) -> str:
        """Changes with the pictures' names, boxes and splits."""
        digest = hashlib.sha256()
        for part in (self.fit, self.search, self.val):
            digest.update(repr((part.image_ids, part.categories, [file.name for file in part.files])).encode())
            for array in (part.boxes, part.labels, part.areas, part.crowd, part.starts, part.sizes):
                digest.update(array.tobytes())
        return digest.hexdigest()[:16]


def open_data(directory: Path, settings: DataSettings, seed: int) -> RunData:
    """Read the data set in `directory` and cut the search split from its training pictures by `seed`.

    Raises `UserError` on anything that training would stumble over.
    """
    sources = find_sources(directory, settings)
    train = sources["train"].read(settings)
    description = f"COCO: {sources['train'].annotations}"
    if "val" in sources:
        val = sources["val"].read(settings)
        description += f" and {sources['val'].annotations}"
        if val.categories != train.categories:
            raise UserError(
                f"{sources['val'].annotations}: its categories differ from those of {sources['train'].annotations}; "
                "both must list the same ids and names"
            )
    else:
        train, val = _cut_validation(train, settings, seed)
        description += f" ({len(val)} pictures of it set aside for validation)"
    fit, search = _cut(train, settings.search_fraction, seed, "search")
    for part, role in ((fit, "training"), (search, "search split"), (val, "validation")):
        if part.crowd.all():  # crowds apart, there is nothing to learn or to find
            raise _no_boxes(directory, part, role)
    return RunData(directory, train, fit, search, val, description)


def open_validation(directory: Path, settings: DataSettings, seed: int) -> DetectionSet:
    """The validation set that `open_data` would give; training annotations are read only where it is cut from them.

    Raises `UserError` if there is neither, or on anything wrong with what is read.
    """
    source = find_source(directory, settings, "val")
    if source is not None:
        val = source.read(settings)
    else:
        source = find_source(directory, settings, "train")
        if source is None:
            raise _nothing_found(directory)
        _, val = _cut_validation(source.read(settings), settings, seed)
    if val.crowd.all():
        raise _no_boxes(directory, val, "validation")
    return val


def _cut_validation(train: DetectionSet, settings: DataSettings, seed: int) -> tuple[DetectionSet, DetectionSet]:
    return _cut(train, settings.val_fraction, seed, "val")


def _cut(data: DetectionSet, fraction: float, seed: int, what: str) -> tuple[DetectionSet, DetectionSet]:
    """The data without a random share of its pictures, and that share."""
    order = np.random.default_rng(seed_of(seed, "split", what)).permutation(len(data))
    aside = min(max(1, round(len(data) * fraction)), len(data) - 1)
    return data.subset(sorted(order[aside:].tolist())), data.subset(sorted(order[:aside].tolist()))


def find_sources(directory: Path, settings: DataSettings) -> dict[str, Source]:
    """The source of `train` and, if there is one, of `val`. Raises `UserError` if there is none for `train`."""
    found = {split: find_source(directory, settings, split) for split in SPLIT_NAMES}
    if found["train"] is None:
        raise _nothing_found(directory)
    return {split: source for split, source in found.items() if source is not None}


def find_source(directory: Path, settings: DataSettings, split: str) -> Source | None:
    """The annotation file of a split in the usual layouts or as the recipe names it; None if there is none.

    Raises `UserError` if the folder is missing, or the file is not COCO.
    """
    if not directory.is_dir():
        raise UserError(f"--data {directory}: no such folder; name the folder that holds your COCO files")
    named, images = {
        "train": (settings.train, settings.train_images),
        "val": (settings.val, settings.val_images),
    }[split]
    found = directory / named if named else next(_candidates(directory, split), None)
    if found is None:
        return None
    tree = load_tree(found)
    return Source(found, directory / images if images else _image_folder(directory, found, tree), tree)


def _nothing_found(directory: Path) -> UserError:
    state = "is empty" if not any(directory.iterdir()) else "holds no COCO file that is found by itself"
    return UserError(
        f"--data {directory}: the folder {state}; put train.json (COCO) and the pictures in train/ there, "
        "or name the file by data.train"
    )


def _no_boxes(directory: Path, part: DetectionSet, role: str) -> UserError:
    return UserError(f"{directory}: the {role} ({len(part)} pictures) holds no box; more pictures are needed")


def _candidates(directory: Path, split: str) -> Iterator[Path]:
    """Annotation files of a split in the layouts that people use."""
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
    """The folder in which the first picture of the file lies; the likeliest one if it lies nowhere."""
    stem = annotations.stem.removeprefix("instances_")
    folders = [directory / "images" / stem, directory / stem, directory / "images", annotations.parent, directory]
    likeliest = next((folder for folder in folders if folder.is_dir()), directory)
    if not tree["images"]:
        return likeliest
    first = tree["images"][0]["file_name"]
    return next((folder for folder in folders if is_file(folder / first)), likeliest)
