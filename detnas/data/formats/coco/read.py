"""Reading COCO detection files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from detnas.config.limits import MOST_ID, MOST_LETTERS
from detnas.utils.errors import UserError
from detnas.utils.files import read_bounded
from detnas.utils.memory import available_memory
from detnas.utils.text import describe_value

MEMORY_SHARE = 8
"""Bytes of memory that reading takes for a byte of a file, about."""
MOST_PATH = 4096
"""Letters of a file name, with its folders."""


class Field(NamedTuple):
    """A field of a COCO file: whether a value is valid, and what is wanted, as the end of a message."""

    is_valid: Callable[[Any], bool]
    wanted: str


def load_coco(path: Path) -> dict[str, Any]:
    """The content of a COCO file. Raises `UserError` unless it has the structure of one; see `FIELDS`."""
    try:
        tree: dict[str, Any] = json.loads(_read(path))
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); name the annotations by data.train or data.val"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error}); a COCO detection file is expected") from None
    for key in ("images", "annotations", "categories"):
        if not isinstance(tree, dict) or not isinstance(tree.get(key), list):
            raise UserError(f"{path}: not COCO, it has no list {key!r}; a COCO detection file is expected")
        for place, entry in enumerate(tree[key]):
            _check_entry(f"{path}: {key}[{place}]", key, entry)
    return tree


def _read(path: Path) -> bytes:
    """The bytes of a file, if there is memory for what it holds."""
    available = available_memory()
    size = path.stat().st_size
    if available is not None and MEMORY_SHARE * size > available:
        raise UserError(
            f"{path}: to read its {size / 1e6:,.0f} MB takes about {MEMORY_SHARE * size / 1e9:,.1f} GB of memory, and "
            f"{available / 1e9:,.1f} GB are available; leave out its segmentations, or use a machine with more memory"
        )
    return read_bounded(path, size)


def _check_entry(where: str, key: str, entry: Any) -> None:
    if not isinstance(entry, dict):
        fields = ", ".join(FIELDS[key])
        raise UserError(f"{where} is {describe_value(entry)}; write an object with the fields {fields}")
    for name, field in FIELDS[key].items():
        if not field.is_valid(entry.get(name)):
            value = f"is {describe_value(entry[name])}" if name in entry else "is missing"
            raise UserError(f"{where}.{name} {value}; write {field.wanted}")


def _is_id(value: Any) -> bool:
    return _is_integer(value) and abs(value) < MOST_ID


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_side(value: Any) -> bool:
    return _is_integer(value) and 0 < value < 1e9


def _is_number(value: Any) -> bool:
    """Whether it is a number, not NaN, and of a plausible size for images."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e12 < value < 1e12


def _is_text(value: Any, most: int) -> bool:
    """Whether it is text that can be encoded: JSON strings may contain lone surrogates."""
    if not isinstance(value, str) or len(value) > most:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)


FIELDS: dict[str, dict[str, Field]] = {
    "images": {
        "id": Field(_is_id, "a whole number that no other image has"),
        "file_name": Field(
            lambda value: value != "" and _is_text(value, MOST_PATH),
            f"the name of the image file in at most {MOST_PATH} letters",
        ),
        "width": Field(_is_side, "the width of the image in pixels, a whole number from 1"),
        "height": Field(_is_side, "the height of the image in pixels, a whole number from 1"),
    },
    "annotations": {
        "image_id": Field(_is_id, "a whole number, the id of an image"),
        "category_id": Field(_is_id, "a whole number, the id of a category"),
        "bbox": Field(
            lambda value: isinstance(value, list) and len(value) == 4 and all(map(_is_number, value)),
            "the list [x, y, width, height] in pixels, of the top left corner and the sides",
        ),
        "area": Field(
            lambda value: value is None or (_is_number(value) and value >= 0),
            "the area of the object in square pixels, or leave it out",
        ),
        "iscrowd": Field(lambda value: value in (None, 0, 1), "1 for a crowd, else 0, or leave it out"),
    },
    "categories": {
        "id": Field(_is_id, "a whole number that no other category has"),
        "name": Field(
            lambda value: _is_text(value, MOST_LETTERS), f"the name of the category in at most {MOST_LETTERS} letters"
        ),
    },
}
"""The fields of the entries of each list in a COCO file."""
