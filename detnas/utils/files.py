"""Atomic writes (to a temporary name, flushed to the disk, then renamed), JSON files, and file locks."""

import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from detnas.utils.errors import UserError
from detnas.utils.posix import fcntl


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replace `path` by what `write` writes. A killed process leaves the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Random, since several workers may write at once, and process ids on different machines may be equal.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_unfinished(directory: Path) -> None:
    """Remove the temporary files of killed processes in `directory`, to which no other process may be writing."""
    for path in directory.glob(".*.tmp"):
        path.unlink()


def try_lock(file: IO[Any], *, shared: bool = False) -> bool:
    """`acquire_lock` without waiting: returns False if a lock of another process conflicts."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def acquire_lock(file: IO[Any], *, shared: bool = False) -> None:
    """Wait for a lock of an open file, exclusive or `shared` with other shared ones, and hold it until it is closed."""
    fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)


@contextmanager
def try_lock_file(path: Path) -> Iterator[bool]:
    """Create and lock the file `path` exclusively until the block ends; yields whether no other process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        yield try_lock(file)


def write_text(path: Path, text: str) -> None:
    write_file(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_json_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def is_file(path: Path) -> bool:
    """Whether `path` is a file. Unlike `Path.is_file`, returns False for impossible names, such as too long ones."""
    return os.path.isfile(path)  # noqa: PTH113


def read_lines(file: Path, holds: str, remedy: str) -> list[str]:
    """The lines of a text file from a user, which `holds` something. Raises `UserError`, which ends in `remedy`."""
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); {remedy}") from None
    except UnicodeDecodeError:
        raise UserError(f"{file}: not {holds} (it is not text); {remedy}") from None


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON Lines file, none if there is no file. A last line that is incomplete is ignored."""
    if not path.exists():
        return []
    complete, _, _ = path.read_text().rpartition("\n")
    return [json.loads(line) for line in complete.splitlines()]
