"""The YOLO format: one text file for each image, and a YAML file that says where the images of each split lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detnas.data.formats.base import DatasetFormat, Query, Source, Split
from detnas.data.formats.yolo.layout import YAML, find_yaml, read_split
from detnas.data.formats.yolo.read import load_yolo
from detnas.utils.errors import UserError


@dataclass(frozen=True)
class YoloSplit:
    """A split of the YAML file `description`. `images`, if not None, replaces the images that it names."""

    description: Path
    split: Split
    images: str | None


class YoloFormat(DatasetFormat[YoloSplit]):
    name = "YOLO"
    files = "YOLO data.yaml"
    layout = "a data.yaml (YOLO)"

    def find(self, query: Query) -> Sequence[YoloSplit]:
        directory, split, images = query.directory, query.split, query.images
        if query.name is not None:
            file = directory / query.name
            return [YoloSplit(file, split, images)] if file.suffix.lower() in YAML else []
        usual = [] if query.other_names else [find_yaml(directory)]
        files = [*usual, *(directory / name for name in query.other_names)]
        found = [YoloSplit(file, split, images) for file in files if file is not None]
        # A file without `train` is refused by `read`; without `val`, there is no validation set.
        return [one for one in found if split == "train" or read_split(one.description, split, images) is not None]

    def read(self, location: YoloSplit) -> Source:
        found = read_split(location.description, location.split, location.images)
        if found is None:
            raise UserError(
                f"{location.description}: has no {location.split!r}; write where its images lie, or name another file "
                f"by data.{location.split}"
            )
        return Source(self, found.description, found.images, load_yolo(found))
