"""The data of a run: the training set, the search split cut from it, and the validation set."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detnas.config import DataSettings
from detnas.data.copies import find_copies
from detnas.data.detection import Category, DetectionSet, join
from detnas.data.formats.base import Source, Split
from detnas.data.formats.discovery import find_sources, find_split, nothing_found
from detnas.data.packing import pack
from detnas.data.validation import BadBoxes, Issue, find_issues, issue_of
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
    notes: tuple[str, ...] = ()
    """What users should know of the annotations, a line for each kind."""
    shared: tuple[Issue, ...] = ()
    """What users should know of images that are there more than once."""

    def summary(self) -> list[str]:
        """Human-readable lines: the annotation files, the number of images of each set, and what users should know."""
        parts = ((self.fit, "to train on"), (self.search, "search split"), (self.val, "validation"))
        counts = ", ".join(f"{len(part):,} {role}" for part, role in parts)
        notes = (f"Note: {note}" for note in (*self.notes, *self.shared))
        return [self.description, f"Images: {counts}; {len(self.train.categories)} categories", *notes]

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
    sets, notes = _read(sources, settings)
    train = sets["train"]
    description = f"{sources['train'][0].format.name}: {' and '.join(dict.fromkeys(map(_files, sources.values())))}"
    if "val" in sets:
        val = sets["val"]
        _check_disjoint(sources, train, val)
    else:
        train, val = _cut_validation(train, settings, seed)
        description += f" ({len(val)} images of it set aside for validation)"
    fit, search = _cut(train, _search_images(train, settings), seed, "search")
    for part, role in ((train, "training set"), (fit, "training"), (search, "search split"), (val, "validation")):
        _check_boxes(directory, part, role)
    shared = tuple(_shared_images(directory, train, val))
    return RunData(directory, train, fit, search, val, description, "val" not in sets, tuple(notes), shared)


def open_validation(
    directory: Path, settings: DataSettings, seed: int, known: tuple[Category, ...] = ()
) -> DetectionSet:
    """The validation set of `open_data`. Training annotations are read only if it is cut from them.

    `known`: the categories of a detector, which are used if the format does not list all categories and all that occur
    are among them. Raises `UserError` if there is no data set, or if what is read is not valid.
    """
    if val := find_split(directory, settings, "val"):
        data = _read({"val": val}, settings, known)[0]["val"]
    elif train := find_split(directory, settings, "train"):
        _, data = _cut_validation(_read({"train": train}, settings, known)[0]["train"], settings, seed)
    else:
        raise nothing_found(directory)
    _check_boxes(directory, data, "validation")
    return data


def _read(
    sources: Mapping[Split, Sequence[Source]], settings: DataSettings, known: tuple[Category, ...] = ()
) -> tuple[dict[Split, DetectionSet], list[str]]:
    """The data of each split, and notes; if the format does not list all categories, with those that occur in any."""
    notes = [note for found in sources.values() for one in found for note in validate(one, settings.bad_boxes)]
    parts = {
        split: [pack(one.tree, one.images, settings.bad_boxes) for one in found] for split, found in sources.items()
    }
    formats = {source.format for found in sources.values() for source in found}
    if len(formats) == 1 and not (format := formats.pop()).lists_categories:
        names = {category.name for split in parts.values() for part in split for category in part.categories}
        shared = known if names <= {category.name for category in known} else format.number_categories(names)
        parts = {split: [part.relabel(shared) for part in found] for split, found in parts.items()}
    for split, found in parts.items():
        _check_parts(sources[split], found)
    return {split: join(found) for split, found in parts.items()}, notes


def validate(source: Source, bad_boxes: BadBoxes) -> list[str]:
    """The notes on a source. Raises `UserError`, which counts the first kind of issue, if it cannot be trained on."""
    notes = []
    for issue in find_issues(source.tree, source.images, bad_boxes, known=source.issues):
        if issue.fatal:
            raise UserError(f"{source.annotations}: {issue}")
        notes.append(f"{source.annotations}: {issue}")
    return notes


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
    """Refuse a part without a box that counts: crowds are neither trained on nor evaluated."""
    if not part.crowd.all():
        return
    where = f"{directory}: the {role} ({len(part)} images) holds no box"
    if not len(part.crowd):
        raise UserError(f"{where}; more images are needed")
    first = part.files[int(part.image_of[0])]
    raise UserError(
        f"{where} but {len(part.crowd):,} that are crowd or difficult (first: in {first}), which are neither trained "
        "on nor evaluated; more images are needed, or iscrowd, in VOC difficult, must be 0"
    )


def _shared_images(directory: Path, train: DetectionSet, val: DetectionSet) -> list[Issue]:
    """The notes on images that are equal byte by byte, under whatever names."""
    files = [*train.files, *val.files]
    twice, leaked = list[str](), list[str]()
    for group in find_copies(files):
        first, *others = (_within(directory, files[index]) for index in group)
        for index, other in zip(group[1:], others, strict=True):
            if index < len(train):
                twice.append(f"{other} is {first}")
            elif group[0] < len(train):
                leaked.append(f"{other} is {first}")
    remedy = "take them out of one of the two: the scores are too high"
    return [
        *issue_of("images of the validation set are training images under another name", leaked, remedy, fatal=False),
        *issue_of(
            "images of the training set are there under another name too",
            twice,
            "take one of each out: they may be both trained on and in the search split",
            fatal=False,
        ),
    ]


def _within(directory: Path, file: Path) -> Path:
    return file.relative_to(directory) if file.is_relative_to(directory) else file


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
