"""The VOC format: one XML file for each image, and lists of the images of each split."""

from collections.abc import Sequence

from detnas.data.formats.base import DatasetFormat, Query, Source
from detnas.data.formats.voc.layout import find_named_set, find_usual_sets
from detnas.data.formats.voc.read import VocSet, load_voc, voc_categories
from detnas.utils.files import is_file


class VocFormat(DatasetFormat[VocSet]):
    name = "VOC"
    files = "VOC tree"
    layout = "Annotations/ and JPEGImages/ (VOC)"
    lists_categories = False

    def find(self, query: Query) -> Sequence[VocSet]:
        if query.name is not None:
            named = None if is_file(query.file) else find_named_set(query.directory, query.name)
            sets: Sequence[VocSet] = [named] if named else []
        else:
            others = [one for name in query.other_names if (one := find_named_set(query.directory, name))]
            given = {"val" if query.split == "train" else "train": others}
            sets = find_usual_sets(query.directory, **given)[query.split]
        images = query.images_folder()
        return [one._replace(images=images) for one in sets] if images else sets

    def read(self, location: VocSet) -> Source:
        tree, issues = load_voc(location)
        return Source(self, location.listing, location.images, tree, tuple(issues))

    number_categories = staticmethod(voc_categories)
