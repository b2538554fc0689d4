"""Files that are either whole or absent: written to a temporary name, flushed to the disk, then renamed."""

import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call `write` on a temporary file beside `path`, flush it to the disk, and rename it to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Several workers may write it at once; on different machines, or in containers, their process ids may be equal.
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
    """Remove the temporary files that killed processes left in `directory`, in which nobody else may be writing."""
    for path in directory.glob(".*.tmp"):
        path.unlink()


def try_lock(file: IO[Any], *, shared: bool = False) -> bool:
    """Lock an open file for as long as it stays open, alone or with others that lock it `shared`; False if somebody
    else's lock forbids it."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def acquire_lock(file: IO[Any], *, shared: bool = False) -> None:
    """The same, waiting for as long as somebody else's lock forbids it."""
    fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)


@contextmanager
def try_lock_file(path: Path) -> Iterator[bool]:
    """Whether nobody else holds the lock file `path`; then nobody else will until the block ends, or the process."""
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
    """Whether there is such a file; `Path.is_file` raises on names that cannot be, such as those that are too long."""
    return os.path.isfile(path)  # noqa: PTH113


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file; a last line that a killed process left torn is passed over."""
    if not path.exists():
        return []
    whole, _, _ = path.read_text().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]
