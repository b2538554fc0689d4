"""JSON files that hold records of one type: validated when they are read, whole or absent when they are written."""

from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from detnas.utils.errors import UserError
from detnas.utils.files import read_json, read_json_lines, write_json, write_json_lines

T = TypeVar("T")


class RecordFile(Generic[T]):
    """The JSON file `name` in some folder, which holds one `T`."""

    def __init__(self, name: str, kind: type[T]) -> None:
        self.name = name
        self.kind = kind

    @cached_property
    def _adapter(self) -> TypeAdapter[T]:
        return TypeAdapter(self.kind)

    def path(self, folder: Path) -> Path:
        return folder / self.name

    def exists(self, folder: Path) -> bool:
        return self.path(folder).exists()

    def read(self, folder: Path) -> T:
        """Raises `UserError` if the file is damaged, and `FileNotFoundError` if there is none."""
        path = self.path(folder)
        try:
            return self.parse(read_json(path))
        except ValueError as error:
            raise damaged(path, error) from None

    def find(self, folder: Path) -> T | None:
        """The record, or None if there is no such file. Raises `UserError` if the file is damaged."""
        return self.read(folder) if self.exists(folder) else None

    def write(self, folder: Path, record: T) -> None:
        write_json(self.path(folder), self.dump(record))

    def parse(self, tree: Any) -> T:
        """The record from JSON's objects. Raises `ValueError` if they do not fit."""
        return self._adapter.validate_python(tree)

    def dump(self, record: T) -> Any:
        """The record as JSON's objects."""
        return self._adapter.dump_python(record, exclude_unset=True)


class RecordLines(Generic[T]):
    """The JSON-lines file `name` in some folder, which holds one `T` a line."""

    def __init__(self, name: str, kind: type[T]) -> None:
        self.name = name
        self.kind = kind

    @cached_property
    def _adapter(self) -> TypeAdapter[list[T]]:
        return TypeAdapter(list[self.kind])  # type: ignore[name-defined]

    def path(self, folder: Path) -> Path:
        return folder / self.name

    def read(self, folder: Path) -> list[T]:
        """All records, none if there is no such file; a last line that is not complete is skipped.

        Raises `UserError` if the file is damaged.
        """
        path = self.path(folder)
        try:
            return self._adapter.validate_python(read_json_lines(path))
        except ValueError as error:
            raise damaged(path, error) from None

    def write(self, folder: Path, records: list[T]) -> None:
        write_json_lines(self.path(folder), self._adapter.dump_python(records, exclude_unset=True))


def damaged(path: Path, error: ValueError) -> UserError:
    """The error for a file that does not hold what it should."""
    reason = str(error)
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
    return UserError(f"{path} is damaged ({reason}); delete it and give the run's command again")
