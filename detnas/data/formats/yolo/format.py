"""The YOLO format: one text file for each image, and a YAML file that says where the images of each split lie."""

from collections.abc import Sequence
from dataclasses import replace

from detnas.data.formats.base import DatasetFormat, Query, Source
from detnas.data.formats.yolo.layout import YAML, find_yaml, read_split
from detnas.data.formats.yolo.read import load_yolo
from detnas.utils.errors import UserError


class YoloFormat(DatasetFormat[Query]):
    """Its location is a query that names a YAML file, whose images `Query.images` replaces if it is given."""

    name = "YOLO"
    files = "YOLO data.yaml"
    layout = "a data.yaml (YOLO)"

    def find(self, query: Query) -> Sequence[Query]:
        if query.name is not None:
            return [query] if query.file.suffix.lower() in YAML else []
        usual = None if query.other_names else find_yaml(query.directory)
        found = [replace(query, name=name) for name in ([usual.name] if usual else query.other_names)]
        # A file without `train` is refused by `read`; without `val`, there is no validation set.
        return [one for one in found if one.split == "train" or read_split(one.file, one.split, one.images)]

    def read(self, location: Query) -> Source:
        found = read_split(location.file, location.split, location.images)
        if found is None:
            raise UserError(
                f"{location.file}: has no {location.split!r}; write where its images lie, or name another file by "
                f"data.{location.split}"
            )
        tree, issues = load_yolo(found)
        return Source(self, found.description, found.images, tree, tuple(issues))
