"""JSON files that hold records of one type: validated when they are read, whole or absent when they are written."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from detnas.utils.errors import UserError
from detnas.utils.files import read_json, read_json_lines, write_json, write_json_lines

T = TypeVar("T")


class RecordFile(Generic[T]):
    """The JSON file `name` in some folder, which holds one `T`."""

    _load: Callable[[Path], Any] = staticmethod(read_json)
    _save: Callable[[Path, Any], None] = staticmethod(write_json)

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
            return self.parse(self._load(path))
        except ValueError as error:
            raise damaged(path, error) from None

    def find(self, folder: Path) -> T | None:
        """The record, or None if there is no such file. Raises `UserError` if the file is damaged."""
        return self.read(folder) if self.exists(folder) else None

    def write(self, folder: Path, record: T) -> None:
        self._save(self.path(folder), self.dump(record))

    def parse(self, tree: Any) -> T:
        """The record from JSON's objects. Raises `ValueError` if they do not fit."""
        return self._adapter.validate_python(tree)

    def dump(self, record: T) -> Any:
        """The record as JSON's objects."""
        return self._adapter.dump_python(record, exclude_unset=True)


class RecordLines(RecordFile[list[T]]):
    """The JSON-lines file `name` in some folder, which holds one `T` a line.

    Reading it gives no records if there is no such file, and skips a last line that is not complete.
    """

    _load, _save = staticmethod(read_json_lines), staticmethod(write_json_lines)

    def __init__(self, name: str, kind: type[T]) -> None:
        super().__init__(name, list[kind])  # type: ignore[valid-type]


def damaged(path: Path, error: ValueError) -> UserError:
    """The error for a file that does not hold what it should."""
    reason = str(error)
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
    return UserError(f"{path} is damaged ({reason}); delete it and give the run's command again")
