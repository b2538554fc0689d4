"""Atomic writes (to a temporary name, flushed to the disk, then renamed), JSON files, and file locks."""

import errno
import json
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO

from detnas.utils.errors import UserError
from detnas.utils.posix import fcntl

SAYS_AFTER = 10.0
"""Seconds of waiting for a lock after which that is said."""
LOCKS = Path("/proc/locks")
"""Linux's list of all locks."""
FOLDER_LOCK = ".lock"
"""In a temporary folder, held while it is used."""
MOST_BYTES = 2**26
"""Of a text file, such as a recipe, the labels of an image or a list of images."""


@contextmanager
def explain_unwritable(path: Path) -> Iterator[None]:
    """Raise `UserError`, which begins with `path`, if the block cannot write there. Its cause is the system's error."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); make room for it there, or name another place"
        ) from error


def make_folder(path: Path) -> None:
    """Make the folder `path` and those above it, unless it exists. Raises `UserError` if that is not possible."""
    with explain_unwritable(path):
        path.mkdir(parents=True, exist_ok=True)


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replace `path` by what `write` writes. A killed process leaves the old file or the new one, never a part.

    Raises `UserError` if `path` cannot be written.
    """
    make_folder(path.parent)
    with explain_unwritable(path), _temporary_file(path) as (file, temporary):
        write(file)
        file.flush()
        os.fsync(file.fileno())
        temporary.replace(path)


@contextmanager
def _temporary_file(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file beside `path`, which is locked while it is written, and its path; removed if it is still there."""
    while True:
        # Random, since several workers may write at once, and process ids on different machines may be equal. Not the
        # whole name, which may be as long as names can be.
        temporary = path.with_name(f".{path.name[:20]}.{secrets.token_hex(4)}.tmp")
        with temporary.open("xb") as file:
            try:
                with suppress(UserError):  # on a disk without locks, nothing removes it
                    try_lock(file)
                if temporary.exists():  # else `remove_unfinished` was faster than the lock
                    yield file, temporary
                    return
            finally:
                temporary.unlink(missing_ok=True)


def remove_unfinished(directory: Path) -> None:
    """Remove the temporary files in `directory` that killed processes have left; those of living ones are locked."""
    for path in directory.glob(".*.tmp"):
        with suppress(OSError, UserError), path.open("rb") as file:
            if try_lock(file):
                path.unlink()


@contextmanager
def temporary_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder in `parent`, which is removed when the block ends; those that killed processes left are removed now.

    What tells them apart is a lock. Raises `UserError` if nothing can be written in `parent`.
    """
    remove_unused_folders(parent, prefix)
    make_folder(parent)
    while True:
        with explain_unwritable(parent):
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            with open_lock_file(folder / FOLDER_LOCK) as lock:
                with suppress(UserError):  # on a disk without locks, nothing removes it
                    try_lock(lock)
                if (folder / FOLDER_LOCK).exists():  # else `remove_unused_folders` was faster than the lock
                    yield folder
                    return
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def remove_unused_folders(parent: Path, prefix: str) -> None:
    """Remove the folders that `temporary_folder` made there in processes that were killed."""
    with suppress(OSError):
        for folder in [entry for entry in parent.iterdir() if entry.name.startswith(prefix)]:
            with suppress(OSError, UserError), (folder / FOLDER_LOCK).open("rb") as lock:
                if try_lock(lock):
                    shutil.rmtree(folder, ignore_errors=True)


def try_lock(file: IO[Any], *, shared: bool = False) -> bool:
    """Lock an open file until it is closed, exclusively or `shared` with other shared locks.

    Returns False if a lock of another process conflicts. Raises `UserError` where files cannot be locked.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise UserError(
            f"{file.name}: cannot be locked ({error.strerror}); choose a folder on a disk of this machine"
        ) from None
    return True


def acquire_lock(file: IO[Any], log: Callable[[str], object], *, shared: bool = False) -> None:
    """`try_lock`, but wait for other processes. After `SAYS_AFTER` seconds `log` is told who holds the lock."""
    began, is_said = time.monotonic(), False
    while not try_lock(file, shared=shared):
        waited = time.monotonic() - began
        if waited >= SAYS_AFTER and not is_said:
            is_said = True
            log(waits_for(Path(file.name)))
        time.sleep(min(max(waited / 8, 0.01), 0.5))


def waits_for(path: Path, kind: str = "FLOCK") -> str:
    """The line that says who holds a lock of a file for which this process waits; `kind` is FLOCK or POSIX."""
    return f"  waits for {path}, which {_lock_holder(path, kind)} holds; end or continue that process"


def _lock_holder(path: Path, wanted: str) -> str:
    """Who holds a lock of a file, as far as this machine knows."""
    with suppress(OSError):
        inode = path.stat().st_ino
        for line in LOCKS.read_text().splitlines():
            # Such as: 12: FLOCK  ADVISORY  WRITE 345 00:1f:678 0 EOF
            _, kind, _, how, process, place, *_ = line.split()
            is_it = kind == wanted and place.endswith(f":{inode}") and (kind, how) != ("POSIX", "READ")
            if is_it and int(process) > 0:
                state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
                return f"process {process}{' (it is stopped)' if state in 'Tt' else ''}"
    return "another process"


@contextmanager
def try_lock_file(path: Path) -> Iterator[bool]:
    """Create and lock the file `path` exclusively until the block ends; yields whether no other process holds it."""
    with open_lock_file(path) as file:
        yield try_lock(file)


def open_lock_file(path: Path) -> IO[str]:
    """Open the file `path`, which is made if there is none, to lock it. Raises `UserError` if it cannot be written."""
    make_folder(path.parent)
    with explain_unwritable(path):
        return path.open("a")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8. Surrogates, as which Python reads file names that are not UTF-8, are written as escapes."""
    write_file(path, lambda file: file.write(text.encode(errors="backslashreplace")))


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_json_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def is_file(path: Path) -> bool:
    """Whether `path` is a file. Unlike `Path.is_file`, returns False for impossible names, such as too long ones."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: Path) -> bool:
    """Whether `path` is a folder. Like `is_file`, returns False for impossible names."""
    return os.path.isdir(path)  # noqa: PTH112


def real_path(path: Path) -> Path:
    """The absolute path without links. Unlike `Path.resolve`, raises nothing for links that lead to themselves."""
    return Path(os.path.realpath(path))


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading. Raises `OSError`, also for what is no regular file: a pipe may never end."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file")
    return file


def read_bounded(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of a file. Raises `OSError` as `open_regular`, and for more than `most` bytes."""
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"larger than {most / 1e6:,.0f} MB")
    return content


def read_lines(file: Path, holds: str, remedy: str) -> list[str]:
    """The lines of a text file from a user, which `holds` something. Raises `UserError`, which ends in `remedy`."""
    try:
        return read_bounded(file).decode("utf-8-sig").splitlines()
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
    return [json.loads(line) for line in complete_lines(path.read_text())]


def complete_lines(text: str) -> list[str]:
    """The lines of a text up to its last line break. What follows that was cut while it was written."""
    return text.rpartition("\n")[0].splitlines()
