"""Import strings, `package.module:name`: how recipes name objects of the user's code."""

import importlib
import pkgutil
import re
from collections.abc import Mapping
from typing import Any

from detnas.utils.errors import UserError

IMPORT_STRING = re.compile(r"(?=.{1,300}\Z)[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


def import_object(import_string: str, field: str) -> Any:
    """Import the object that `import_string` names, or raise a `UserError` whose message begins with `field`."""
    module, _, name = import_string.partition(":")
    try:
        imported = importlib.import_module(module)
    except Exception as error:  # a module's code may raise anything
        raise UserError(
            f"{field}: {import_string} cannot be imported ({type(error).__name__}: {error}); install {module}, or add "
            "its folder to PYTHONPATH"
        ) from None
    try:
        return getattr(imported, name)
    except AttributeError:
        raise UserError(
            f"{field}: {import_string}: module {module} has no {name}; name an object of that module"
        ) from None


def load_table(import_string: str) -> Mapping[str, Any]:
    """The table named by `import_string`, in a package that the calling one must not import when it is loaded.

    Packages import only from packages below them. Recipes and search spaces are checked against the names of what is
    implemented above them (ops, detectors, samplers, evaluators), so these tables are looked up when they are needed.
    """
    table: Mapping[str, Any] = pkgutil.resolve_name(import_string)
    return table
