"""Many paths in little memory, which forked processes share."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

import numpy as np


class PackedPaths(Sequence[Path]):
    """Paths as one array of bytes.

    A forked process that reads Python objects changes their reference counts, and so copies one page after the other of
    the memory that it shares with its parent. It reads arrays without copies.
    """

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self._paths = np.array([os.fsencode(path) for path in paths], np.bytes_)

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> Path: ...

    @overload
    def __getitem__(self, index: slice) -> "PackedPaths": ...

    def __getitem__(self, index: int | slice) -> "Path | PackedPaths":
        if isinstance(index, slice):
            return self.take(range(len(self))[index])
        return Path(os.fsdecode(self._paths[index]))

    def __eq__(self, other: object) -> bool:
        """Whether `other` is a sequence of the same paths."""
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def take(self, indices: Sequence[int]) -> "PackedPaths":
        """The paths with these indices, in this order."""
        taken = PackedPaths(())
        taken._paths = self._paths[np.array(indices, np.int64)]
        return taken
