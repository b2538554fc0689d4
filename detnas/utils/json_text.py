"""Parses JSON from untrusted sources."""

import json
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """The value of the JSON `text`.

    Raises `ValueError` with a message of one line if it is not valid JSON, or holds a key twice, a number that is
    infinite or NaN, a number of thousands of digits, or lists within lists beyond Python's depth.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error.msg} at letter {error.pos:,}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) < len(pairs):
        raise ValueError("it holds a key twice")
    return tree


def _refuse(name: str) -> float:
    raise ValueError(f"it holds {name}, which is no number")


def _finite(text: str) -> float:
    value = float(text)
    if abs(value) == float("inf"):
        raise ValueError("it holds a number that is too large")
    return value
