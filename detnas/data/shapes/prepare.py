"""The embedded data set of a run: drawn once, and again only if the recipe asks for another one."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from detnas.config import ShapesSettings
from detnas.data.shapes.write import PARAMETERS, write_shapes
from detnas.utils.errors import UserError
from detnas.utils.files import is_file, read_json


def prepare_shapes(directory: Path, settings: ShapesSettings, *, log: Callable[[str], None]) -> None:
    """Draw the data set that `settings` describe into `directory`, unless it is there. `log` is called before drawing.

    Raises `UserError` if the folder exists and was not written by `write_shapes`: it may hold anything.
    """
    if directory.exists():
        parameters = directory / PARAMETERS
        if not is_file(parameters):
            raise UserError(f"{directory}: exists and was not drawn for this run; remove it, or choose another --out")
        if read_json(parameters) == settings.model_dump(mode="json"):
            return
        _remove(directory)
    log(f"Drawing the data set: {directory}")
    write_shapes(directory, settings)


def _remove(directory: Path) -> None:
    """Remove a directory such that a killed process does not leave a part of it under its name."""
    with tempfile.TemporaryDirectory(prefix=f".{directory.name}-", dir=directory.parent) as aside:
        shutil.move(directory, aside)
