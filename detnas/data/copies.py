"""Finding images that are the same, whatever they are called, by the bytes of their files."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path

from detnas.data.validation import READERS

PIECE = 4096
"""Bytes from the middle of a file. Files of equal size that are not the same differ there, with few exceptions."""


def find_copies(files: Sequence[Path]) -> list[list[int]]:
    """Groups of indices of files with equal content, ascending. Of most files only the size is read."""
    groups = [list(range(len(files)))]
    with ThreadPool(READERS) as pool:
        for read in (_size, _piece, _digest):
            groups = [part for group in groups for part in _split(group, files, read, pool)]
    return groups


def _split(
    group: list[int], files: Sequence[Path], read: Callable[[Path], Hashable], pool: ThreadPool
) -> list[list[int]]:
    """The parts of a group in which `read` gives the same, without those of one file."""
    parts: dict[Hashable, list[int]] = defaultdict(list)
    for index, value in zip(group, pool.map(read, [files[index] for index in group]), strict=True):
        parts[value].append(index)
    return [part for part in parts.values() if len(part) > 1]


def _size(file: Path) -> int:
    return file.stat().st_size


def _piece(file: Path) -> bytes:
    with file.open("rb") as content:
        content.seek(max(0, file.stat().st_size // 2 - PIECE // 2))
        return content.read(PIECE)


def _digest(file: Path) -> bytes:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").digest()
