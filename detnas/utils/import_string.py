"""What users bring and recipes name: an object by where it is imported from, `package.module:name`."""

import importlib
import re
from collections.abc import Mapping
from typing import Any

from detnas.utils.errors import UserError

IMPORT_STRING = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
"""How such a place is written."""


def import_object(place: str, field: str) -> Any:
    """What stands at `place`, `package.module:name`. Imports that module, which runs its code.

    Raises `UserError`, which begins with `field`, if it cannot be imported or does not hold that name.
    """
    module, _, name = place.partition(":")
    try:
        holder = importlib.import_module(module)
    except Exception as error:  # a module's code may raise anything
        raise UserError(
            f"{field}: {place} cannot be imported ({type(error).__name__}: {error}); install {module}, or let "
            "PYTHONPATH name the folder that holds it"
        ) from None
    try:
        return getattr(holder, name)
    except AttributeError:
        raise UserError(f"{field}: {place}: module {module} holds no {name}; name what it holds") from None


def load_table(place: str) -> Mapping[str, Any]:
    """The table that stands at `place`, `package.module:NAME`, in a package above the one that asks.

    Packages import from those below them only. A recipe or a search space is checked against the names of things that
    are implemented above it (ops, detectors, samplers, evaluators), so it finds their tables when it is read.
    """
    module, _, name = place.partition(":")
    table: Mapping[str, Any] = getattr(importlib.import_module(module), name)
    return table
