"""VOC annotations: one XML file an image, read as what the checks of `problems` take."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from detnas.data.decoding import EXTENSIONS
from detnas.data.detection import Category
from detnas.utils.errors import UserError
from detnas.utils.files import is_file

CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""Of VOC 2007 to 2012; their ids are 1 to 20 in this order."""


@dataclass(frozen=True)
class VocSet:
    """Some images of a VOC tree: `names` are those of their files without endings, relative to both folders."""

    listing: Path
    """The file that lists them; the folder of the XML files where all are taken."""
    annotations: Path
    images: Path
    names: tuple[str, ...]

    def files(self) -> list[Path]:
        return [self.annotations / f"{name}.xml" for name in self.names]


def load_voc(voc_set: VocSet) -> dict[str, Any]:
    """The set as a COCO dictionary.

    Boxes, whose corners in VOC are pixels counted from 1 that both belong to them, become x, y, width, height in
    continuous pixels from 0. Difficult objects become crowds: nothing is trained on them, the VOC scores follow VOC's
    rule, and the COCO scores COCO's for crowds, which forgives a little more than leaving the difficult objects'
    detections out: any number of detections that lie half in such a box, however small, are ignored.
    Raises `UserError`, naming file, object and value, on a file that is missing or not VOC.
    """
    missing = [file for file in voc_set.files() if not is_file(file)]
    if missing:
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
        for number, thing in enumerate(root.findall("object"), start=1):
            annotations.append({"image_id": id, **_object(thing, f"{file}, object {number}")})
    categories = voc_categories(annotation["name"] for annotation in annotations)
    ids = {category.name: category.id for category in categories}
    for annotation in annotations:
        annotation["category_id"] = ids[annotation.pop("name")]
    listed = [{"id": category.id, "name": category.name} for category in categories]
    return {"images": entries, "annotations": annotations, "categories": listed}


def voc_categories(names: Iterable[str]) -> tuple[Category, ...]:
    """The categories of names, which may repeat: sorted; VOC's own have VOC's ids, others are counted from 1."""
    found = sorted(set(names))
    known = CLASSES if set(found) <= set(CLASSES) else found
    return tuple(Category(known.index(name) + 1, name) for name in found)


def _image_ids(names: Sequence[str]) -> Sequence[int]:
    """The numbers that VOC's names are (2008_000002 is 2008000002), or where they are none, their places from 1."""
    digits = [name.replace("_", "") for name in names]
    if all(text.isascii() and text.isdigit() and len(text) < 16 for text in digits):
        numbers = [int(text) for text in digits]
        if len(set(numbers)) == len(numbers):
            return numbers
    return range(1, len(names) + 1)


class _WithoutDoctype(ElementTree.TreeBuilder):
    """No annotation needs a document type, and entities that it defines can blow up to any size."""

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
    """What stands there, on one line; empty if there is nothing."""
    return " ".join((element.findtext(path) or "").split())


def _side(root: ElementTree.Element, file: Path, side: str) -> int:
    text = _text(root, f"size/{side}")
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise UserError(f"{file}: size/{side} is {text[:50]!r}; write that of the image in pixels")
    return int(text)


def _image(images: Path, name: str, stated: str) -> str:
    """The file of an image: named as the XML file is, with the stated file's ending or another, or as stated."""
    endings = dict.fromkeys((Path(stated).suffix or ".jpg", *EXTENSIONS))
    beside = stated if stated and not Path(stated).is_absolute() else name
    candidates = [*(f"{name}{ending}" for ending in endings), beside]
    return next((file for file in candidates if is_file(images / file)), candidates[0])


def _object(thing: ElementTree.Element, where: str) -> dict[str, Any]:
    """The fields of a COCO annotation that an <object> gives, and `name`."""
    name = _text(thing, "name")
    if not name:
        raise UserError(f"{where}: has no <name>; write one")
    where = f"{where} ({name})"
    x1, y1, x2, y2 = (_number(thing, where, corner) for corner in ("xmin", "ymin", "xmax", "ymax"))
    difficult = _text(thing, "difficult") or "0"
    if difficult not in ("0", "1"):
        raise UserError(f"{where}: difficult is {difficult[:50]!r}; write 0 or 1")
    return {
        "where": f"{where}, bndbox {x1:g} {y1:g} {x2:g} {y2:g}",
        "name": name,
        "bbox": [x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1],
        "iscrowd": int(difficult),
    }


def _number(thing: ElementTree.Element, where: str, corner: str) -> float:
    text = _text(thing, f"bndbox/{corner}")
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not abs(number) < 1e9:
        raise UserError(f"{where}: bndbox/{corner} is {text[:50]!r}; write a number of pixels")
    return number
