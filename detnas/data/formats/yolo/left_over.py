"""Files of a YOLO data set that are not used, though it seems that they should be."""

from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from detnas.data.decoding import EXTENSIONS
from detnas.data.find_images import FileFinder, list_files
from detnas.data.formats.base import parse_number
from detnas.data.formats.yolo.layout import YoloSet, image_folders, label_folders
from detnas.data.validation import Issue, issue_of

OTHER_IMAGES = (".avif", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jxl", ".mpo", ".ppm")
"""Endings of images that are not taken from a folder."""
PIECE = 1000
"""Bytes of a file by which labels are recognized."""


def find_left_over(yolo_set: YoloSet, used: Collection[Path]) -> list[Issue]:
    """Labels of no image, and images of other kinds, in the folders of a split whose label files `used` are read."""
    folders = dict.fromkeys(file.parent for file in yolo_set.files)
    others = [str(file) for folder in folders for file in list_files(folder, OTHER_IMAGES, deep=False)]
    return [
        *issue_of("files of labels that belong to no image", list(_without_image(list(folders), used)), fatal=False),
        *issue_of("images of kinds that are not read", others, "convert them to JPEG or PNG", fatal=False),
    ]


def _without_image(folders: list[Path], used: Collection[Path]) -> Iterator[str]:
    """The label files in the folders of labels, and below them, of which no image is there, in a split or not."""
    roots = {place for folder in folders for place in label_folders(folder) if place.is_dir()}
    tops = sorted(place for place in roots if not roots & set(place.parents))
    finders: dict[Path, FileFinder] = {}
    for file in dict.fromkeys(file for top in tops for file in list_files(top, (".txt",))):
        if file in used or not _holds_labels(file):
            continue
        found = None
        for folder in image_folders(file.parent):
            finder = finders.setdefault(folder, FileFinder(folder, (*EXTENSIONS, *OTHER_IMAGES), exact=True))
            found = found or finder.find(f"{file.stem}.jpg")
        if found is None:
            yield str(file)
        elif Path(found).suffix.lower() in OTHER_IMAGES:
            yield f"{file}, perhaps of {found}, whose kind is not read"


def _holds_labels(file: Path) -> bool:
    """Whether a text file begins as labels do, with five numbers or more."""
    with suppress(OSError, ValueError), file.open("rb") as content:
        words = content.read(PIECE).decode(errors="replace").strip().partition("\n")[0].split()
        return len(words) >= 5 and None not in map(parse_number, words[:5])
    return False
