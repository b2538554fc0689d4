"""Reading VOC annotations, one XML file per image, as a COCO dictionary."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from detnas.data.decoding import EXTENSIONS
from detnas.data.detection import Category
from detnas.data.formats.base import parse_number
from detnas.utils.errors import UserError
from detnas.utils.files import is_file

CLASSES = ("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat",
           "chair", "cow", "diningtable", "dog", "horse", "motorbike", "person",
           "pottedplant", "sheep", "sofa", "train", "tvmonitor")  # fmt: skip
"""The classes of VOC 2007 to 2012, with ids 1 to 20 in this order."""


class VocSet(NamedTuple):
    """Some images of a VOC tree. `names` are the files' names without suffix, relative to both folders."""

    listing: Path
    """The file that lists the names, or the folder of the XML files if all are used."""
    annotations: Path
    images: Path
    names: tuple[str, ...]

    def files(self) -> list[Path]:
        return [self.annotations / f"{name}.xml" for name in self.names]


def load_voc(voc_set: VocSet) -> dict[str, Any]:
    """The set as a COCO dictionary.

    Boxes become x, y, width, height in continuous pixels from 0; VOC's corners are pixel indices from 1, inclusive.
    Difficult objects become crowds: they are not trained on, and VOC AP and COCO AP each apply their own rule to them.
    Raises `UserError`, naming file, object and value, if a file is missing or is not VOC.
    """
    if missing := [file for file in voc_set.files() if not is_file(file)]:
        raise UserError(
            f"{voc_set.listing}: {len(missing):,} of its images have no annotations (first: {missing[0]}); add the "
            "files, or take the names off the list"
        )
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for id, name, file in zip(_image_ids(voc_set.names), voc_set.names, voc_set.files(), strict=True):
        root = _parse(file)
        width, height = (_side(root, file, side) for side in ("width", "height"))
        file_name = _image(voc_set.images, name, _text(root, "filename"))
        entries.append({"id": id, "file_name": file_name, "width": width, "height": height})
        for number, element in enumerate(root.findall("object"), start=1):
            annotations.append({"image_id": id, **_object(element, f"{file}, object {number}")})
    categories = voc_categories(annotation["name"] for annotation in annotations)
    ids = {category.name: category.id for category in categories}
    for annotation in annotations:
        annotation["category_id"] = ids[annotation.pop("name")]
    return {"images": entries, "annotations": annotations, "categories": [one._asdict() for one in categories]}


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
        parser.feed(file.read_bytes())
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
        raise UserError(f"{file}: size/{side} is {text[:50]!r}; write that of the image in pixels")
    return int(text)


def _image(images: Path, name: str, stated: str) -> str:
    """The file name of an image: that of the XML file with the stated or another suffix, or else the stated name."""
    endings = dict.fromkeys((Path(stated).suffix or ".jpg", *EXTENSIONS))
    beside = stated if stated and not Path(stated).is_absolute() else name
    candidates = [*(f"{name}{ending}" for ending in endings), beside]
    return next((file for file in candidates if is_file(images / file)), candidates[0])


def _object(element: ElementTree.Element, where: str) -> dict[str, Any]:
    """An <object> as a COCO annotation, with `name` instead of a category id."""
    name = _text(element, "name")
    if not name:
        raise UserError(f"{where}: has no <name>; write one")
    where = f"{where} ({name})"
    x1, y1, x2, y2 = (_number(element, where, corner) for corner in ("xmin", "ymin", "xmax", "ymax"))
    difficult = _text(element, "difficult") or "0"
    if difficult not in ("0", "1"):
        raise UserError(f"{where}: difficult is {difficult[:50]!r}; write 0 or 1")
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
        raise UserError(f"{where}: bndbox/{corner} is {text[:50]!r}; write a number of pixels")
    return number
