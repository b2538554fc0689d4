"""Layouts of VOC data sets: those of the devkit and of the exports of labeling tools."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detnas.data.find_images import list_files
from detnas.data.formats.base import SPLIT_NAMES, Split
from detnas.data.formats.voc.read import VocSet
from detnas.utils.errors import UserError
from detnas.utils.files import is_file, read_lines

PAIRS: tuple[tuple[str | None, str | None], ...] = (
    ("trainval", "test"),
    ("train", "val"),
    ("train", "test"),
    ("trainval", None),
    ("train", None),
    ("default", None),
    (None, "val"),
    (None, "test"),
)
"""Lists for training and validation; the first pair that exists is used. `default` is CVAT's."""


@dataclass(frozen=True)
class Tree:
    """A folder of XML files, a folder of images, and a folder of lists, which may be missing."""

    annotations: Path
    images: Path
    lists: Path

    def __contains__(self, split: str) -> bool:
        """Whether the list SPLIT.txt names any image; of a test set, one with annotations (some are secret)."""
        names_any = self._path(split).is_file() and bool(self._names(split))
        return names_any and (split != "test" or is_file(self.listed(split).files()[0]))

    def listed(self, split: str) -> VocSet:
        """The set of the list SPLIT.txt. Raises `UserError` if there is none, or it lists nothing."""
        path = self._path(split)
        if not path.is_file():
            there = ", ".join(file.stem for file in _listed(self.lists, ".txt")) or "none"
            raise UserError(f"{path}: no such list of images; name another by data.train or data.val (there: {there})")
        names = self._names(split)
        if not names:
            raise UserError(f"{path}: lists no image; write one name a line")
        return VocSet(path, self.annotations, self.images, names)

    def whole(self) -> VocSet:
        """The set of all images that have an XML file."""
        files = (file.relative_to(self.annotations) for file in _listed(self.annotations, ".xml", deep=self.is_deep))
        names = tuple(sorted(file.with_suffix("").as_posix() for file in files))
        return VocSet(self.annotations, self.annotations, self.images, names)

    @property
    def is_deep(self) -> bool:
        """Whether the XML files may lie in sub-folders: of a folder of their own, but not of one that holds splits."""
        return self.annotations.name.lower() == "annotations"

    def _names(self, split: str) -> tuple[str, ...]:
        lines = read_lines(self._path(split), "a list of names", "write one name a line")
        return tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))

    def _path(self, split: str) -> Path:
        return self.lists / f"{split}.txt"


def find_tree(directory: Path) -> Tree | None:
    """The tree in `directory`: XML files in it or in Annotations/, images in JPEGImages/, images/ or beside them."""
    lists = directory / "ImageSets" / "Main"
    for annotations in (directory / "Annotations", directory / "annotations", directory):
        images = (directory / name for name in ("JPEGImages", "images", "Images"))
        tree = Tree(annotations, next((folder for folder in images if folder.is_dir()), annotations), lists)
        is_listed = annotations != directory and annotations.is_dir() and bool(_listed(lists, ".txt"))
        if is_listed or _listed(annotations, ".xml", deep=tree.is_deep):
            return tree
    return None


def _listed(folder: Path, ending: str, *, deep: bool = False) -> list[Path]:
    return list_files(folder, (ending,), deep=deep) if folder.is_dir() else []


def find_named_set(directory: Path, name: str) -> VocSet | None:
    """The set of a list (VOC2007/trainval) or tree (VOC2007); None without tree. Raises `UserError` without a list."""
    for path in (directory / name, directory / "VOCdevkit" / name):
        if (tree := find_tree(path)) is not None:
            return tree.whole()
        if path.suffix != ".json" and (tree := find_tree(path.parent)) is not None:
            return tree.listed(path.name)
    return None


def find_usual_sets(
    directory: Path, train: Sequence[VocSet] = (), val: Sequence[VocSet] = ()
) -> dict[Split, Sequence[VocSet]]:
    """The sets of both splits in the usual layouts, if there are any. Sets that are given are returned as they are.

    The training sets of all years of a devkit are used. No validation set shares an image with a training set.
    """
    roots = [directory, *sorted(directory.glob("VOC20*")), *sorted(directory.glob("VOCdevkit/VOC20*"))]
    trees = [tree for folder in roots if (tree := find_tree(folder)) is not None]
    for first, second in PAIRS:
        firsts, seconds = (
            [tree.listed(name) for tree in trees if name is not None and name in tree] for name in (first, second)
        )
        pair = train or firsts, val or seconds
        if bool(firsts) == (first is not None) and bool(seconds) == (second is not None) and not _overlap(*pair):
            return {"train": pair[0], "val": pair[1]}
    # Labeling tools export the XML files and images of each split into a folder of its own.
    exported = {
        split: [tree.whole() for name in names if (tree := find_tree(directory / name)) is not None][:1]
        for split, names in SPLIT_NAMES.items()
    }
    if any(exported.values()):
        return {"train": train or exported["train"], "val": val or exported["val"]}
    return {"train": train or [tree.whole() for tree in trees if not val], "val": val}


def _overlap(train: Sequence[VocSet], val: Sequence[VocSet]) -> bool:
    names = {(part.annotations, name) for part in train for name in part.names}
    return any((part.annotations, name) in names for part in val for name in part.names)
