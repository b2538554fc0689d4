"""Reading VOC annotations, one XML file per image, as a COCO dictionary."""

from collections.abc import Iterable, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple
from xml.etree import ElementTree

from detnas.data.decoding import EXTENSIONS
from detnas.data.detection import Category
from detnas.data.find_images import FileFinder, list_files
from detnas.data.formats.base import check_name, parse_number
from detnas.data.validation import Issue, issue_of, renamed_issue
from detnas.utils.errors import UserError
from detnas.utils.files import is_file, read_bounded
from detnas.utils.text import describe_value

CLASSES = ("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat",
           "chair", "cow", "diningtable", "dog", "horse", "motorbike", "person",
           "pottedplant", "sheep", "sofa", "train", "tvmonitor")  # fmt: skip
"""The classes of VOC 2007 to 2012, with ids 1 to 20 in this order."""
MOST_BYTES = 2**23
"""Of the XML file of an image."""


class VocSet(NamedTuple):
    """Some images of a VOC tree. `names` are the files' names without ending, relative to both folders."""

    listing: Path
    """The file that lists the names, or the folder of the XML files if all are used."""
    annotations: Path
    images: Path
    names: tuple[str, ...]

    def files(self) -> list[Path]:
        """The XML file of each name, whether it exists or not. A name may have the ending of the image."""
        finder = FileFinder(self.annotations, (".xml",), exact=True)
        files = []
        for name in self.names:
            stem = str(Path(name).with_suffix("")) if Path(name).suffix.lower() in EXTENSIONS else name
            files.append(self.annotations / (finder.find(f"{name}.xml") or finder.find(f"{stem}.xml") or f"{name}.xml"))
        return files


def load_voc(voc_set: VocSet) -> tuple[dict[str, Any], list[Issue]]:
    """The set as a COCO dictionary, and what users should know of it.

    Boxes become x, y, width, height in continuous pixels from 0; VOC's corners are pixel indices from 1, inclusive.
    Difficult objects become crowds: they are not trained on, and VOC AP and COCO AP each apply their own rule to them.
    Raises `UserError`, naming file, object and value, if a file is missing or is not VOC.
    """
    files = voc_set.files()
    if missing := [file for file in files if not is_file(file)]:
        raise UserError(
            f"{voc_set.listing}: {len(missing):,} of its images have no annotations (first: {missing[0]}); add the "
            "files, or take the names off the list"
        )
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    finder, renamed = FileFinder(voc_set.images), []
    for id, name, file in zip(_image_ids(voc_set.names), voc_set.names, files, strict=True):
        root = _parse(file)
        width, height = (_side(root, file, side) for side in ("width", "height"))
        stated = _text(root, "filename")
        file_name = _image(finder, name, stated)
        if stated and Path(file_name).name != PureWindowsPath(stated).name:
            renamed.append(f"{stated} in {file} is {file_name}")
        entries.append({"id": id, "file_name": file_name, "width": width, "height": height})
        for number, element in enumerate(root.findall("object"), start=1):
            annotations.append({"image_id": id, **_object(element, f"{file}, object {number}")})
    categories = voc_categories(annotation["name"] for annotation in annotations)
    ids = {category.name: category.id for category in categories}
    for annotation in annotations:
        annotation["category_id"] = ids[annotation.pop("name")]
    tree = {"images": entries, "annotations": annotations, "categories": [one._asdict() for one in categories]}
    return tree, [*renamed_issue(renamed), *_count_issues(annotations), *_unused_images(voc_set, entries)]


def _count_issues(annotations: Sequence[dict[str, Any]]) -> list[Issue]:
    """The note on sets that count pixels from 0, as CVAT writes them."""
    corners = [one["where"] for one in annotations if -1 in one["bbox"][:2] and sum(one["bbox"][::2]) > 1]
    what = (
        "boxes begin at pixel 0: the set counts from 0, but VOC from 1, so that all its boxes are read a pixel to the "
        "top left, in training as in evaluation"
    )
    return issue_of(what, corners, fatal=False)


def _unused_images(voc_set: VocSet, entries: Sequence[dict[str, Any]]) -> list[Issue]:
    """The note on images without an XML file, where those with one are the set."""
    if voc_set.listing != voc_set.annotations or not voc_set.images.is_dir():
        return []
    used = {voc_set.images / entry["file_name"] for entry in entries}
    deep = voc_set.images != voc_set.annotations
    unused = [str(file) for file in list_files(voc_set.images, EXTENSIONS, deep=deep) if file not in used]
    return issue_of("images without an XML file, not used", unused, fatal=False)


def voc_categories(names: Iterable[str]) -> tuple[Category, ...]:
    """The categories of names, which may repeat: sorted, with VOC's ids if all are VOC's, else from 1."""
    found = sorted(set(names))
    known = CLASSES if set(found) <= set(CLASSES) else found
    return tuple(Category(known.index(name) + 1, name) for name in found)


def _image_ids(names: Sequence[str]) -> Sequence[int]:
    """The numbers in VOC's names (2008000002 for 2008_000002), or indices from 1 if other names are among them."""
    digits = [name.replace("_", "") for name in names]
    if all(text.isascii() and text.isdigit() and len(text) < 16 for text in digits):
        numbers = [int(text) for text in digits]
        if len(set(numbers)) == len(numbers):
            return numbers
    return range(1, len(names) + 1)


class _WithoutDoctype(ElementTree.TreeBuilder):
    """Refuses a document type: no annotation needs one, and its entities can expand to any size."""

    def doctype(self, *declared: object) -> None:
        raise ValueError("it declares a document type")


def _parse(file: Path) -> ElementTree.Element:
    parser = ElementTree.XMLParser(target=_WithoutDoctype())
    try:
        parser.feed(read_bounded(file, MOST_BYTES))
        root: ElementTree.Element = parser.close()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); replace it") from None
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise UserError(f"{file}: not an XML file of VOC ({error}); replace it") from None
    if root.tag != "annotation":
        raise UserError(f"{file}: not VOC, it holds <{root.tag[:50]}> instead of <annotation>; take it out of the data")
    return root


def _text(element: ElementTree.Element, path: str) -> str:
    """The text at `path`, on one line; empty if there is none."""
    return " ".join((element.findtext(path) or "").split())


def _side(root: ElementTree.Element, file: Path, side: str) -> int:
    text = _text(root, f"size/{side}")
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise UserError(
            f"{file}: size/{side} is {describe_value(text)}; write the {side} of the image in pixels, a whole number"
        )
    return int(text)


def _image(finder: FileFinder, name: str, stated: str) -> str:
    """The file of an image: that of the name of its XML file, or else the stated one; a name if there is none."""
    named = f"{name}{Path(stated).suffix or '.jpg'}"
    return finder.find(named) or finder.find(name) or finder.find(stated) or named


def _object(element: ElementTree.Element, where: str) -> dict[str, Any]:
    """An <object> as a COCO annotation, with `name` instead of a category id."""
    name = _text(element, "name")
    if not name:
        raise UserError(f"{where}: has no <name>; write the name of its class")
    check_name(name, f"{where}: name")
    where = f"{where} ({name})"
    x1, y1, x2, y2 = (_number(element, where, corner) for corner in ("xmin", "ymin", "xmax", "ymax"))
    difficult = _text(element, "difficult") or "0"
    if difficult not in ("0", "1"):
        raise UserError(f"{where}: difficult is {describe_value(difficult)}; write 0 or 1")
    return {
        "where": f"{where}, bndbox {x1:g} {y1:g} {x2:g} {y2:g}",
        "name": name,
        "bbox": [x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1],
        "iscrowd": int(difficult),
    }


def _number(element: ElementTree.Element, where: str, corner: str) -> float:
    text = _text(element, f"bndbox/{corner}")
    number = parse_number(text)
    if number is None:
        raise UserError(f"{where}: bndbox/{corner} is {describe_value(text)}; write a number of pixels")
    return number
