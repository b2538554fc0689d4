"""Finding a data set's files: in the usual layouts, or as the recipe names them. COCO goes before YOLO before VOC."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from detnas.config import DataSettings
from detnas.data.detection import DetectionSet
from detnas.data.formats.coco.read import detection_set, load_tree
from detnas.data.formats.voc.layout import default_sets, named_set
from detnas.data.formats.voc.read import VocSet, load_voc
from detnas.data.formats.yolo.layout import YAML, YoloSet, find_yaml, yolo_set
from detnas.data.formats.yolo.read import load_yolo
from detnas.utils.errors import UserError
from detnas.utils.files import is_file

Split = Literal["train", "val"]
OTHER: dict[Split, Split] = {"train": "val", "val": "train"}
SPLIT_NAMES = {"train": ("train",), "val": ("val", "valid", "validation", "test")}


@dataclass(frozen=True)
class Source:
    """One annotation file, one set of a VOC tree, or one split of a YOLO data set, and the folder of its images."""

    format: Literal["COCO", "VOC", "YOLO"]
    annotations: Path
    images: Path
    tree: dict[str, Any]
    """What the annotations say, as a COCO dictionary."""

    def read(self, settings: DataSettings) -> DetectionSet:
        drop = settings.bad_boxes == "drop"
        return detection_set(self.tree, self.annotations, self.images, drop_bad_boxes=drop)


def find_sources(directory: Path, settings: DataSettings) -> dict[Split, tuple[Source, ...]]:
    """The sources of `train` and, if there are any, of `val`. Raises `UserError` if there is none for `train`."""
    found = {split: find_split(directory, settings, split) for split in OTHER}
    if not found["train"]:
        raise nothing_found(directory)
    return {split: sources for split, sources in found.items() if sources}


def find_split(directory: Path, settings: DataSettings, split: Split) -> tuple[Source, ...]:
    """The sources of one split; none if there is nothing for it.

    Raises `UserError` if the folder is missing, or a file is not what it should be.
    """
    if not directory.is_dir():
        raise UserError(f"--data {directory}: no such folder; name the folder that holds your data set")
    sets = _named(directory, settings, split) or _usual(directory, settings, split)
    return tuple(_load(directory, one, split, _images(settings, split)) for one in sets)


def nothing_found(directory: Path) -> UserError:
    """The refusal of a folder without a training set."""
    state = (
        "is empty"
        if not any(directory.iterdir())
        else "holds no COCO file, YOLO data.yaml or VOC tree that is found by itself"
    )
    return UserError(
        f"--data {directory}: the folder {state}; put train.json (COCO) and the images in train/ there, "
        "or a data.yaml (YOLO), or name the file by data.train"
    )


def _named(directory: Path, settings: DataSettings, split: Split) -> list[Path | VocSet]:
    """The files and sets that the recipe names."""
    found: list[Path | VocSet] = []
    for name in settings.names_of(split):
        file = directory / name
        found.append(file if is_file(file) else named_set(directory, name) or file)
    return found


def _images(settings: DataSettings, split: Split) -> str | None:
    return {"train": settings.train_images, "val": settings.val_images}[split]


def _usual(directory: Path, settings: DataSettings, split: Split) -> Sequence[Path | VocSet | YoloSet]:
    """The files or sets of a split that the recipe does not name."""
    others = _named(directory, settings, OTHER[split])
    yamls = [one for one in others if isinstance(one, Path) and one.suffix.lower() in YAML]
    if not others and not any(_coco_files(directory, "train")):
        yamls = [file for file in [find_yaml(directory)] if file is not None]
    if yamls:
        sets = [one for file in yamls if (one := yolo_set(file, split, _images(settings, split))) is not None]
        if split == "train" and not sets:
            raise _no_split(yamls[0], split)
        return sets
    file = next(_coco_files(directory, split), None)
    if file is not None:
        return [file]
    voc = [one for one in others if isinstance(one, VocSet)]
    if len(voc) < len(others) or (not others and any(_coco_files(directory, OTHER[split]))):
        return []  # of a data set in COCO files nothing is VOC
    train, val = default_sets(directory, val=voc) if split == "train" else default_sets(directory, train=voc)
    return train if split == "train" else val


def _load(directory: Path, one: Path | VocSet | YoloSet, split: Split, images: str | None) -> Source:
    folder = directory / images if images else None
    if isinstance(one, VocSet):
        return Source("VOC", one.listing, folder or one.images, load_voc(one, folder or one.images))
    if isinstance(one, Path) and one.suffix.lower() in YAML:
        named = yolo_set(one, split, images)
        if named is None:
            raise _no_split(one, split)
        one = named
    if isinstance(one, YoloSet):
        return Source("YOLO", one.description, one.images, load_yolo(one))
    tree = load_tree(one)
    return Source("COCO", one, folder or _image_folder(directory, one, tree), tree)


def _no_split(file: Path, split: Split) -> UserError:
    return UserError(f"{file}: has no {split!r}; write where its images lie, or name another file by data.{split}")


def _coco_files(directory: Path, split: Split) -> Iterator[Path]:
    """COCO files of a split in the layouts that people use."""
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
    """The folder in which the first image of the file lies; the likeliest one if it lies nowhere."""
    stem = annotations.stem.removeprefix("instances_")
    folders = [directory / "images" / stem, directory / stem, directory / "images", annotations.parent, directory]
    likeliest = next((folder for folder in folders if folder.is_dir()), directory)
    if not tree["images"]:
        return likeliest
    first = tree["images"][0]["file_name"]
    return next((folder for folder in folders if is_file(folder / first)), likeliest)
