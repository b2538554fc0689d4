"""The embedded data set of a run: drawn once, and again only if other shapes are asked for."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from detnas.config import ShapesSettings
from detnas.data.shapes.write import NUMBERS, write_shapes
from detnas.utils.errors import UserError
from detnas.utils.files import is_file, read_json


def prepare_shapes(directory: Path, settings: ShapesSettings, *, log: Callable[[str], None]) -> None:
    """Draw the shapes that `settings` ask for into `directory` unless they are there; a drawing is reported to `log`.

    Raises `UserError` if the folder was not drawn by `write_shapes`: it may be anything.
    """
    wanted = settings.model_dump(mode="json")
    if directory.exists():
        numbers = directory / NUMBERS
        if not is_file(numbers):
            raise UserError(f"{directory}: exists and was not drawn for this run; remove it, or choose another --out")
        if read_json(numbers) == wanted:
            return
        _remove(directory)
    log(f"Drawing the data set: {directory}")
    write_shapes(directory, **settings.model_dump())


def _remove(directory: Path) -> None:
    """Out of the way in one step: a process that is killed leaves no half of it under its name."""
    with tempfile.TemporaryDirectory(prefix=f".{directory.name}-", dir=directory.parent) as aside:
        shutil.move(directory, aside)
