"""The data of a run: the training set, the search split cut from it, and the validation set."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detnas.config import DataSettings
from detnas.data.detection import Category, DetectionSet, join
from detnas.data.formats.base import Source, Split
from detnas.data.formats.discovery import find_sources, find_split, nothing_found
from detnas.data.packing import pack
from detnas.utils.errors import UserError
from detnas.utils.seeds import derive_seed


@dataclass(frozen=True)
class RunData:
    """The data sets of a run.

    Networks are trained standalone on `train`, the supernet on `fit`; candidates are evaluated on `search`, which is
    the rest of `train`. `val` is only used to report results.
    """

    directory: Path
    train: DetectionSet
    fit: DetectionSet
    search: DetectionSet
    val: DetectionSet
    description: str
    """The format and the annotation files, human-readable."""
    val_is_cut: bool
    """Whether `val` was cut from the training files because there is no validation set."""

    def summary(self) -> list[str]:
        """Two human-readable lines: the annotation files, and the number of images of each set."""
        parts = ((self.fit, "to train on"), (self.search, "search split"), (self.val, "validation"))
        counts = ", ".join(f"{len(part):,} {role}" for part, role in parts)
        return [self.description, f"Images: {counts}; {len(self.train.categories)} categories"]

    def fingerprint(self) -> str:
        """A hash of the images' names, boxes and splits."""
        digest = hashlib.sha256()
        for part in (self.fit, self.search, self.val):
            digest.update(repr((part.image_ids, part.categories, [file.name for file in part.files])).encode())
            for array in (part.boxes, part.labels, part.areas, part.crowd, part.starts, part.sizes):
                digest.update(array.tobytes())
        return digest.hexdigest()[:16]


def open_data(directory: Path, settings: DataSettings, seed: int) -> RunData:
    """Read, validate and, by `seed`, split the data in `directory`. Raises `UserError` if they cannot be trained on."""
    return split_data(directory, find_sources(directory, settings), settings, seed)


def split_data(
    directory: Path, sources: Mapping[Split, Sequence[Source]], settings: DataSettings, seed: int
) -> RunData:
    """`open_data` for the sources that `find_sources` has found."""
    sets = _read(sources, settings)
    train = sets["train"]
    description = f"{sources['train'][0].format.name}: {' and '.join(dict.fromkeys(map(_files, sources.values())))}"
    if "val" in sets:
        val = sets["val"]
        _check_disjoint(sources, train, val)
    else:
        train, val = _cut_validation(train, settings, seed)
        description += f" ({len(val)} images of it set aside for validation)"
    fit, search = _cut(train, _search_images(train, settings), seed, "search")
    for part, role in ((fit, "training"), (search, "search split"), (val, "validation")):
        _check_boxes(directory, part, role)
    return RunData(directory, train, fit, search, val, description, val_is_cut="val" not in sets)


def open_validation(
    directory: Path, settings: DataSettings, seed: int, known: tuple[Category, ...] = ()
) -> DetectionSet:
    """The validation set of `open_data`. Training annotations are read only if it is cut from them.

    `known`: the categories of a detector, which are used if the format does not list all categories and all that occur
    are among them. Raises `UserError` if there is no data set, or if what is read is not valid.
    """
    if val := find_split(directory, settings, "val"):
        data = _read({"val": val}, settings, known)["val"]
    elif train := find_split(directory, settings, "train"):
        _, data = _cut_validation(_read({"train": train}, settings, known)["train"], settings, seed)
    else:
        raise nothing_found(directory)
    _check_boxes(directory, data, "validation")
    return data


def _read(
    sources: Mapping[Split, Sequence[Source]], settings: DataSettings, known: tuple[Category, ...] = ()
) -> dict[Split, DetectionSet]:
    """The data of each split; if the format does not list all categories, with those that occur in any split."""
    drop = settings.bad_boxes == "drop"
    parts = {
        split: [pack(one.tree, one.annotations, one.images, drop_bad_boxes=drop) for one in found]
        for split, found in sources.items()
    }
    formats = {source.format for found in sources.values() for source in found}
    if len(formats) == 1 and not (format := formats.pop()).lists_categories:
        names = {category.name for split in parts.values() for part in split for category in part.categories}
        shared = known if names <= {category.name for category in known} else format.number_categories(names)
        parts = {split: [part.relabel(shared) for part in found] for split, found in parts.items()}
    for split, found in parts.items():
        _check_parts(sources[split], found)
    return {split: join(found) for split, found in parts.items()}


def _check_parts(sources: Sequence[Source], parts: Sequence[DetectionSet]) -> None:
    """Refuse parts of one split with different categories or a common image."""
    first: dict[Path, Source] = {}
    for source, part in zip(sources, parts, strict=True):
        if part.categories != parts[0].categories:
            raise _other_categories(source, sources[0])
        for file in part.files:
            if first.setdefault(file, source) is not source:
                raise UserError(
                    f"{source.annotations}: {file} is in {first[file].annotations} too; list each image in one of them"
                )


def _check_disjoint(sources: Mapping[Split, Sequence[Source]], train: DetectionSet, val: DetectionSet) -> None:
    """Refuse a validation set with other categories than the training set, or with images of it."""
    if val.categories != train.categories:
        raise _other_categories(sources["val"][0], sources["train"][0])
    if shared := sorted(set(train.files) & set(val.files)):
        raise UserError(
            f"{_files(sources['val'])}: {len(shared):,} of its images are also trained on (first: {shared[0]}); name "
            "sets that share none by data.train and data.val"
        )


def _other_categories(source: Source, first: Source) -> UserError:
    return UserError(
        f"{source.annotations}: its categories differ from those of {first.annotations}; "
        "both must list the same ids and names"
    )


def _files(sources: Sequence[Source]) -> str:
    return " + ".join(dict.fromkeys(str(source.annotations) for source in sources))


def _check_boxes(directory: Path, part: DetectionSet, role: str) -> None:
    if part.crowd.all():  # crowds are neither trained on nor evaluated
        raise UserError(f"{directory}: the {role} ({len(part)} images) holds no box; more images are needed")


def _search_images(train: DetectionSet, settings: DataSettings) -> int:
    """The number of images of the search split."""
    asked = settings.search_images
    if asked is None:
        return _fraction_of(train, settings.search_fraction)
    if asked >= len(train):
        raise UserError(
            f"data.search_images = {asked}: there are {len(train):,} training images, and some must remain to train "
            f"on; give at most {len(train) - 1}"
        )
    return asked


def _cut_validation(train: DetectionSet, settings: DataSettings, seed: int) -> tuple[DetectionSet, DetectionSet]:
    return _cut(train, _fraction_of(train, settings.val_fraction), seed, "val")


def _fraction_of(data: DetectionSet, fraction: float) -> int:
    return min(max(1, round(len(data) * fraction)), len(data) - 1)


def _cut(data: DetectionSet, aside: int, seed: int, what: str) -> tuple[DetectionSet, DetectionSet]:
    """The data without `aside` random images, and these images."""
    order = np.random.default_rng(derive_seed(seed, "split", what)).permutation(len(data))
    return data.subset(sorted(order[aside:].tolist())), data.subset(sorted(order[:aside].tolist()))
