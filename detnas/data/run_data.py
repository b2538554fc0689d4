"""The data set of a run that was begun: found where it is now, and never mistaken for another."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from detnas.config import DataSettings
from detnas.data.splits import RunData, open_data
from detnas.rundir.directory import REMEDY, read_stored_run, write_stored_run
from detnas.rundir.layout import DATA, RECIPE, StoredRun
from detnas.rundir.record_files import damaged
from detnas.utils.errors import UserError
from detnas.utils.files import real_path

DEEPEST = 4
"""Folders from a run directory down to a weights file in it, at most: rank/finetune/NETWORK/detector.safetensors."""


def find_run_directory(file: Path) -> Path | None:
    """The run directory that a weights file lies in, or None."""
    return next((folder for folder in list(file.absolute().parents)[:DEEPEST] if (folder / RECIPE).is_file()), None)


def stored_data(directory: Path, stored: StoredRun) -> Path:
    """Where the data set of the run in `directory` was when somebody last used it."""
    return directory / stored.data_directory


def open_run_data(directory: Path, stored: StoredRun, data: Path | None) -> RunData:
    """The data set of the run in `directory`: in the folder `data`, or else where it was, or in a run that was moved.

    Raises `UserError` if it is not there, which `--data` remedies, if another data set is there, or if it is not valid.
    """
    settings, seed = _settings(directory, stored)
    return find_run_data(directory, stored, data, lambda place: open_data(place, settings, seed))


def find_run_data(directory: Path, stored: StoredRun, data: Path | None, open_at: Callable[[Path], RunData]) -> RunData:
    """`open_run_data` where `open_at` opens the data set in a folder."""
    if data is not None:
        return _check_fingerprint(directory, stored, open_at(data))
    place, inside = stored_data(directory, stored), directory / DATA
    is_inside = inside.is_dir() and real_path(inside) != real_path(place)
    if not place.is_dir() and not is_inside:
        again = ", or give the run's command again, which draws it" if real_path(place) == real_path(inside) else ""
        raise UserError(f"{directory}: its data set is no longer in {place}; say where it is by --data DIR{again}")
    if place.is_dir():
        try:
            return _check_fingerprint(directory, stored, open_at(place))
        except UserError as error:
            if not is_inside:
                remedy = "" if "--data" in str(error) else "; or say where the data set of this run is by --data DIR"
                raise UserError(f"{error}{remedy}") from None
    return _check_fingerprint(directory, stored, open_at(inside))


def remember_data(directory: Path, stored: StoredRun, data: Path) -> None:
    """Write into recipe.yaml where the data set of a run is now."""
    place = portable(directory, data)
    if place != stored.data_directory:
        write_stored_run(directory, stored.model_copy(update={"data_directory": place}))


def portable(directory: Path, data: Path) -> str:
    """How recipe.yaml names the folder of the data: relative to the run directory if it lies in there."""
    data, directory = real_path(data), real_path(directory)
    return str(data.relative_to(directory) if data.is_relative_to(directory) else data)


def reopen_run_data(directory: Path, data: Path | None) -> RunData:
    """`open_run_data` of the run in `directory`; where that is now is remembered, if the directory can be written."""
    stored = read_stored_run(directory)
    found = open_run_data(directory, stored, data)
    with suppress(UserError):
        remember_data(directory, stored, found.directory)
    return found


def _check_fingerprint(directory: Path, stored: StoredRun, found: RunData) -> RunData:
    if found.fingerprint() != stored.data_fingerprint:
        raise UserError(
            f"{found.directory}: is another data set than that of the run in {directory}, or the data set has changed "
            "since; say where the run's is by --data DIR, or start a new run in another folder"
        )
    return found


def _settings(directory: Path, stored: StoredRun) -> tuple[DataSettings, int]:
    """What decides how the data are read and split."""
    try:
        return DataSettings.model_validate(stored.recipe.get("data", {})), int(stored.recipe.get("seed", 0))
    except (TypeError, ValueError) as error:
        raise damaged(directory / RECIPE, error, REMEDY) from None
