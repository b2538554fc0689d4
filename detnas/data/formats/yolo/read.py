"""Reading YOLO labels, one text file per image, as a COCO dictionary."""

from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

from detnas.data.decoding import Size, UnreadableImage, read_header
from detnas.data.formats.base import parse_number
from detnas.data.formats.yolo.layout import LabelFinder, YoloSet
from detnas.data.formats.yolo.left_over import find_left_over
from detnas.data.validation import READERS, Issue, issue_of, renamed_issue
from detnas.utils.errors import UserError
from detnas.utils.files import is_file, read_lines
from detnas.utils.text import describe_value


def load_yolo(yolo_set: YoloSet) -> tuple[dict[str, Any], list[Issue]]:
    """The split as a COCO dictionary, with image ids from 1 and YOLO's class numbers as category ids; and what users
    should know of it.

    Boxes become x, y, width, height in pixels; in YOLO, center and sides are fractions of the image as viewers show it.
    A polygon becomes its bounding box. An image without a label file has no boxes.
    Raises `UserError`, naming file, line and value, if labels are not YOLO's or images cannot be read.
    """
    sizes = _sizes(yolo_set)
    finder = LabelFinder()
    labels = [finder.find(file) for file in yolo_set.files]
    if not any(labels):
        raise UserError(
            f"{yolo_set.description}: none of its {len(labels):,} images under {yolo_set.images} has labels; put "
            "NAME.txt for NAME.jpg into labels/ beside images/, or beside the image"
        )
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for id, (file, (width, height), label) in enumerate(zip(yolo_set.files, sizes, labels, strict=True), start=1):
        name = file.relative_to(yolo_set.images) if file.is_relative_to(yolo_set.images) else file
        images.append({"id": id, "file_name": str(name), "width": width, "height": height})
        for box in _boxes(label, yolo_set, (width, height)) if label else ():
            annotations.append({"image_id": id, **box})
    categories = [{"id": number, "name": name} for number, name in yolo_set.names.items()]
    unlabeled = [image["file_name"] for image, label in zip(images, labels, strict=True) if label is None]
    issues = [
        *renamed_issue(yolo_set.renamed),
        *issue_of("images without a file of labels, taken for images without objects", unlabeled, fatal=False),
        *find_left_over(yolo_set, {label for label in labels if label}),
        *_pixel_issues(images, annotations),
    ]
    return {"images": images, "annotations": annotations, "categories": categories}, issues


def _pixel_issues(images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> list[Issue]:
    """The error that all boxes are far too large, as if they were in pixels."""
    large = []
    for annotation in annotations:
        image = images[annotation["image_id"] - 1]
        x, y, width, height = annotation["bbox"]
        if max((x + width) / image["width"], (y + height) / image["height"]) > 2:
            large.append(annotation["where"])
    remedy = "divide x and width by the width of the image in pixels, y and height by its height"
    what = "boxes far beyond their image, as if they were in pixels"
    return issue_of(what, large if len(large) == len(annotations) else [], remedy)


def _sizes(yolo_set: YoloSet) -> list[Size]:
    """Width and height of each image as viewers show it, with its EXIF orientation applied."""

    def read_size(file: Path) -> Size | str:
        try:
            return read_header(file).shown if is_file(file) else "there is no such file"
        except UnreadableImage as error:
            return str(error)

    with ThreadPool(READERS) as pool:
        found = pool.map(read_size, yolo_set.files)
    broken = [f"{file}, {size}" for file, size in zip(yolo_set.files, found, strict=True) if isinstance(size, str)]
    if broken:
        raise UserError(
            f"{yolo_set.description}: {len(broken):,} of its images cannot be read (first: {broken[0]}); replace "
            "them, or take them out"
        )
    return [size for size in found if not isinstance(size, str)]


def _boxes(file: Path, yolo_set: YoloSet, size: Size) -> list[dict[str, Any]]:
    """The lines of a label file as COCO annotations without an image id."""
    found = []
    for number, line in enumerate(read_lines(file, "labels", "replace it"), start=1):
        if line.strip():
            where = f"{file}, line {number}"
            category, x1, y1, x2, y2 = _corners([_number(text, where) for text in line.split()], where)
            if category not in (names := yolo_set.names):
                raise UserError(
                    f"{where}: class {category:g} has no name in {yolo_set.description} (named: {len(names)}, up to "
                    f"{max(names)}); fix it, or name the class"
                )
            width, height = size
            where += f": {x1:g} to {x2:g} of the width, {y1:g} to {y2:g} of the height"
            bbox = [x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height]
            found.append({"where": where, "category_id": int(category), "bbox": bbox})
    return found


def _number(text: str, where: str) -> float:
    number = parse_number(text)
    if number is None:
        raise UserError(
            f"{where}: {describe_value(text)} is no number; write class, then x, y, width, height from 0 to 1"
        )
    return number


def _corners(numbers: list[float], where: str) -> tuple[float, float, float, float, float]:
    """The class, and the left, top, right and bottom border of the box, from 0 to 1."""
    category, *rest = numbers
    if len(rest) == 4:
        x, y, width, height = rest
        return category, x - width / 2, y - height / 2, x + width / 2, y + height / 2
    if len(rest) < 6 or len(rest) % 2:
        raise UserError(
            f"{where}: {len(numbers)} numbers; write class, x, y, width, height, or class and the corners of a polygon"
        )
    xs, ys = rest[::2], rest[1::2]
    return category, min(xs), min(ys), max(xs), max(ys)
