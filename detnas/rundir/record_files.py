"""JSON files that hold records of one type: validated when they are read, whole or absent when they are written."""

import errno
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from detnas.utils.errors import UserError, describe_invalid
from detnas.utils.files import complete_lines, is_file, read_bounded, write_json, write_json_lines

T = TypeVar("T")
MOST_BYTES = 2**32
"""Of a file. The detections on a large validation set take some hundred megabytes."""
REMEDY = "delete it and give the run's command again"


class RecordFile(Generic[T]):
    """The JSON file `name` in some folder, which holds one `T`; `remedy` says how it is made again."""

    _save: Callable[[Path, Any], None] = staticmethod(write_json)

    def __init__(self, name: str, kind: type[T], remedy: str = REMEDY) -> None:
        self.name = name
        self.kind = kind
        self.remedy = remedy

    @cached_property
    def _adapter(self) -> TypeAdapter[T]:
        return TypeAdapter(self.kind)

    def path(self, folder: Path) -> Path:
        return folder / self.name

    def exists(self, folder: Path) -> bool:
        return is_file(self.path(folder))

    def read(self, folder: Path) -> T:
        """Raises `UserError` if the file is missing or damaged."""
        path = self.path(folder)
        try:
            return self._parse_text(read_text(path))
        except FileNotFoundError:
            raise UserError(f"{path} is missing; {self.remedy.removeprefix('delete it and ')}") from None
        except DAMAGE as error:
            raise damaged(path, error, self.remedy) from None

    def find(self, folder: Path) -> T | None:
        """The record, or None if there is no such file. Raises `UserError` if the file is damaged."""
        path = self.path(folder)
        try:
            return self._parse_text(read_text(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except DAMAGE as error:
            raise damaged(path, error, self.remedy) from None

    def find_intact(self, folder: Path) -> T | None:
        """The record, or None if there is no such file, or it is damaged."""
        try:
            return self.find(folder)
        except UserError:
            return None

    def write(self, folder: Path, record: T) -> None:
        self._save(self.path(folder), self.dump(record))

    def parse(self, tree: Any) -> T:
        """The record from JSON's objects. Raises `ValueError` if they do not fit."""
        return self._adapter.validate_python(tree)

    def dump(self, record: T) -> Any:
        """The record as JSON's objects."""
        return self._adapter.dump_python(record, exclude_unset=True)

    def _parse_text(self, text: str) -> T:
        return self.parse(json.loads(text))


class RecordLines(RecordFile[list[T]]):
    """The JSON-lines file `name` in some folder, which holds one `T` a line.

    Reading it gives no records if there is no such file, and skips a last line that is not complete.
    """

    _save = staticmethod(write_json_lines)

    def __init__(self, name: str, kind: type[T], remedy: str = REMEDY) -> None:
        super().__init__(name, list[kind], remedy)  # type: ignore[valid-type]

    def read(self, folder: Path) -> list[T]:
        return self.find(folder) or []

    def _parse_text(self, text: str) -> list[T]:
        return self.parse([json.loads(line) for line in complete_lines(text)])


class LogLines(RecordLines[T]):
    """`RecordLines` that are for people: of a damaged file, the rows that can be read."""

    def read_log(self, folder: Path, log: Callable[[str], object]) -> list[T]:
        """The rows that are whole; `log` is told of the others."""
        path = self.path(folder)
        try:
            lines = complete_lines(read_text(path, errors="replace"))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            log(f"  {path} cannot be read ({error.strerror}); its rows are left out")
            return []
        rows: list[T] = []
        places: list[int] = []
        for number, line in enumerate(lines, start=1):
            try:
                rows += self.parse([json.loads(line)])
            except DAMAGE:
                places.append(number)
        if places:
            left_out = f"{len(places)} of its {len(lines)} rows are left out, the first in line {places[0]}"
            log(f"  {path} is damaged; {left_out}")
        return rows


DAMAGE = (OSError, ValueError, RecursionError)
"""What reading a file may raise that does not hold what it should."""


def read_text(path: Path, errors: str = "strict") -> str:
    """The text of a file of a run. Raises `OSError`, and `ValueError` if it is no text."""
    if path.is_dir():  # Linux would say so only of the first byte
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    return read_bounded(path, MOST_BYTES).decode(errors=errors)


def damaged(path: Path, error: Exception, remedy: str = REMEDY) -> UserError:
    """The error for a file that does not hold what it should, by what reading it has raised."""
    reason, state = str(error), "is damaged"
    if isinstance(error, ValidationError):
        reason = describe_invalid(error)
    elif isinstance(error, OSError):
        reason, state = error.strerror or reason, "cannot be read"
    elif isinstance(error, UnicodeDecodeError):
        reason = "it is not text"
    elif isinstance(error, RecursionError):
        reason = "it is nested too deep"
    return UserError(f"{path} {state} ({reason}); {remedy}")
