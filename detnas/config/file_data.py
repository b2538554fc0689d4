"""The data settings that a weights file holds: those of the run that wrote it, which somebody else may have made."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Literal

from detnas.config.data import DataSettings
from detnas.config.loading import change_data
from detnas.utils.errors import UserError
from detnas.utils.text import describe_value


def data_of_file(
    path: Path, settings: DataSettings, changes: Sequence[str] = (), remedy: str | None = None
) -> DataSettings:
    """The `settings` of the weights file `path` with `changes`, such as `data.val=FILE`, to read a validation set by.

    A file does not choose what is read: raises `UserError`, which ends in `remedy`, if one of its own names leads out
    of the data folder. The user's, in `changes`, may.
    """
    changed = change_data(settings, changes)
    for field, names in _read_for_validation(changed):
        for name in names if getattr(settings, field) == getattr(changed, field) else ():
            if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
                raise UserError(
                    f"{path}: its data.{field} = {describe_value(name)} leads out of the data folder, and a file does "
                    f"not choose what is read; {remedy or f'name it yourself by --set data.{field}=…'}"
                )
    return changed


def _read_for_validation(settings: DataSettings) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The fields by whose names a validation set is found. The training set matters where it is cut from that."""
    splits: tuple[Literal["val", "train"], ...] = ("val",) if settings.val else ("val", "train")
    for split in splits:
        yield split, settings.names_of(split)
        images = getattr(settings, f"{split}_images")
        yield f"{split}_images", () if images is None else (images,)
