"""Pictures as tensors, kept in memory when they fit."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detnas.data.decoding import Size, read_pixels

PROBED = 20
"""Pictures decoded to judge whether all fit in memory."""


def read_image(path: Path, size: Size | None = None) -> Tensor:
    """A picture as RGB, (3, H, W) uint8, turned by the rule of `decoding`.

    Raises `UserError` if it cannot be decoded, or if it has not the width and height of `size`.
    """
    return torch.from_numpy(read_pixels(path, size).transpose(2, 0, 1).copy())


class Images:
    """Decoded pictures by index: kept once read if all take about `cache_mb` megabytes at most.

    `sizes` (N, 2) are the width and height that each must have. Raises `UserError` when it reads a picture of another
    size, or one that cannot be decoded.
    """

    def __init__(self, files: Sequence[Path], cache_mb: int, sizes: NDArray[np.int64] | None = None) -> None:
        self.files = files
        self.sizes = sizes
        self.cache: list[Tensor] | None = None
        probe = [self._read(index).numel() for index in range(0, len(files), max(1, len(files) // PROBED))]
        if sum(probe) / max(1, len(probe)) * len(files) <= cache_mb * 1e6:
            self.cache = [self._read(index) for index in range(len(files))]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        """(3, H, W) uint8; not to be changed."""
        return self._read(index) if self.cache is None else self.cache[index]

    def _read(self, index: int) -> Tensor:
        if self.sizes is None:
            return read_image(self.files[index])
        width, height = self.sizes[index].tolist()
        return read_image(self.files[index], (width, height))
