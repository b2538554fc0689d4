"""Many paths in little memory, which forked processes share."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

import numpy as np


class PackedPaths(Sequence[Path]):
    """Paths as one array of bytes, with their common prefix stored once.

    A forked process that reads Python objects changes their reference counts, and so copies one page after the other of
    the memory that it shares with its parent. It reads arrays without copies.
    """

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self._pack(b"", [os.fsencode(path) for path in paths])

    def _pack(self, start: bytes, rests: list[bytes]) -> None:
        """Keep the paths that begin with `start` and end in `rests`."""
        first, last = min(rests, default=b""), max(rests, default=b"")
        common = next(
            (place for place, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first)
        )
        self._start = start + first[:common]
        self._bytes = np.frombuffer(b"".join(rest[common:] for rest in rests), np.uint8)
        self._ends = np.cumsum([0, *(len(rest) - common for rest in rests)])

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> Path: ...

    @overload
    def __getitem__(self, index: slice) -> "PackedPaths": ...

    def __getitem__(self, index: int | slice) -> "Path | PackedPaths":
        places = range(len(self))[index]
        if isinstance(places, range):
            return self.take(places)
        return Path(os.fsdecode(self._start + self._rest(places)))

    def __eq__(self, other: object) -> bool:
        """Whether `other` is a sequence of the same paths."""
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def take(self, indices: Iterable[int]) -> "PackedPaths":
        """The paths with these indices, in this order."""
        taken = PackedPaths(())
        taken._pack(self._start, [self._rest(index) for index in indices])
        return taken

    def _rest(self, index: int) -> bytes:
        return self._bytes[self._ends[index] : self._ends[index + 1]].tobytes()
