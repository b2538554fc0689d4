"""Reading COCO detection files."""

import json
import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from detnas.utils.errors import UserError


def load_coco(path: Path) -> dict[str, Any]:
    """The content of a COCO file. Raises `UserError` unless it has the structure of one; see `FIELDS`."""
    try:
        tree: dict[str, Any] = json.loads(path.read_bytes())
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
            is_dict = isinstance(entry, dict)
            invalid = (name for name, is_valid in FIELDS[key].items() if not (is_dict and is_valid(entry.get(name))))
            field = next(invalid, None)
            if field is not None:
                value = f"it is {reprlib.repr(entry[field])}" if is_dict and field in entry else "none"
                raise UserError(f"{path}: {key}[{place}] has no valid {field!r} ({value}); write it as COCO has it")
    return tree


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_side(value: Any) -> bool:
    return _is_integer(value) and 0 < value < 1e9


def _is_number(value: Any) -> bool:
    """Whether it is a number, not NaN, and of a plausible size for images."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e12 < value < 1e12


def _is_text(value: Any) -> bool:
    """Whether it is text that can be encoded: JSON strings may contain lone surrogates."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


FIELDS: dict[str, dict[str, Callable[[Any], bool]]] = {
    "images": {"id": _is_integer, "file_name": _is_text, "width": _is_side, "height": _is_side},
    "annotations": {
        "image_id": _is_integer,
        "category_id": _is_integer,
        "bbox": lambda value: isinstance(value, list) and len(value) == 4 and all(map(_is_number, value)),
        "area": lambda value: value is None or (_is_number(value) and value >= 0),
        "iscrowd": lambda value: value in (None, 0, 1),
    },
    "categories": {"id": _is_integer, "name": _is_text},
}
"""The fields of the entries of each list in a COCO file, and whether a value is valid."""
