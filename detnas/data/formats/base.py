"""The contract of a data set format: a class derived from `DatasetFormat`, and a line in `registry.FORMATS`."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from detnas.config.limits import MOST_LETTERS
from detnas.data.detection import Category
from detnas.data.validation import Issue
from detnas.utils.errors import UserError
from detnas.utils.text import describe_value

Split = Literal["train", "val"]

SPLIT_NAMES: dict[Split, tuple[str, ...]] = {"train": ("train",), "val": ("val", "valid", "validation", "test")}
"""What data sets call each split, in order of precedence: a test set validates only where there is nothing else."""

Location = TypeVar("Location")
"""Where annotations lie, in whatever form a format needs to read them."""


def parse_number(text: str) -> float | None:
    """The number that `text` is, or None if it is none of a plausible size for images."""
    try:
        number = float(text) if len(text) < 1000 else math.nan
    except ValueError:
        return None
    return number if abs(number) < 1e9 else None  # NaN is not


def check_name(name: str, where: str) -> None:
    """Refuse a class name, which stands at `where`, of too many letters."""
    if len(name) > MOST_LETTERS:
        raise UserError(f"{where} is {describe_value(name)}; write a name of at most {MOST_LETTERS} letters")


@dataclass(frozen=True)
class Query:
    """What to look for: one split of the data set in `directory`."""

    directory: Path
    split: Split
    name: str | None = None
    """A file or set that the recipe names (`data.train`, `data.val`); None: look in the usual places."""
    images: str | None = None
    """The folder of images that the recipe names (`data.train_images`, `data.val_images`), or None."""
    other_names: tuple[str, ...] = ()
    """What the recipe names for the other split, all of this format. Both splits must share no image."""

    @property
    def file(self) -> Path:
        """The path that `name` names."""
        return self.directory / (self.name or "")

    def images_folder(self) -> Path | None:
        return self.directory / self.images if self.images else None


@dataclass(frozen=True)
class Source:
    """Annotations that have been read, but not validated, and the folder of their images."""

    format: "DatasetFormat[Any]"
    annotations: Path
    """The file or folder that messages name."""
    images: Path
    tree: dict[str, Any]
    """A COCO dictionary, its files relative to `images`; messages place an annotation by its `where`, if it has one."""
    issues: tuple[Issue, ...] = ()
    """What reading has noticed that the tree does not tell."""


class DatasetFormat(ABC, Generic[Location]):
    """How data sets of one format are found, read and described. It has no state."""

    name: str
    """Its key in `FORMATS`, as users are told it."""
    files: str
    """What `find` looks for, for the message that nothing was found: "COCO file"."""
    layout: str
    """A usual layout in a few words, for the remedy in that message."""
    lists_categories: bool = True
    """Whether each file lists all categories with ids; otherwise `number_categories` numbers the names that occur."""

    @abstractmethod
    def find(self, query: Query) -> Sequence[Location]:
        """Where the annotations of a split lie.

        With `query.name`, what it names, whether that exists or not, or nothing if the name is not one of this format.
        Without it, what lies in a usual layout; nothing if there is none, also where other formats' files are.
        It does not read annotations. Raises `UserError` if lists or descriptions that it has to read are malformed.
        """

    @abstractmethod
    def read(self, location: Location) -> Source:
        """Read what `find` has found. Raises `UserError`, naming file, place and value, if that is not possible."""

    def describe(self, source: Source) -> str:
        """Format, annotations and images in one line."""
        return f"{self.name}, {source.annotations}, images under {source.images}"

    def number_categories(self, names: Iterable[str]) -> tuple[Category, ...]:
        """The categories of names, which may repeat: sorted, with ids from 1."""
        return tuple(Category(id, name) for id, name in enumerate(sorted(set(names)), start=1))
