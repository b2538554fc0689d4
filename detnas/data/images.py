"""Images as tensors, kept when they fit."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detnas.data.decoding import Size, read_pixels
from detnas.data.disk_cache import DiskCache
from detnas.data.downscaling import downscale
from detnas.data.packed_images import PackedImages

PROBED = 20
"""Images decoded to judge how much room all take, and whether they are as they should be."""


def read_image(path: Path, size: Size | None = None) -> Tensor:
    """An image as RGB, (3, H, W) uint8, turned by the rule of `decoding`.

    Channels last in memory, as it is stored: so its crops are resized several times as fast.

    Raises `UserError` if it cannot be decoded, or if it has not the width and height of `size`.
    """
    return torch.from_numpy(read_pixels(path, size).copy()).permute(2, 0, 1)


class Images:
    """Images by index, decoded: all kept if they fit, else decoded each time.

    They are kept in memory if they take about `cache_mb` megabytes at most, or else, as they are read, by `disk` if
    they can fit there. `sizes` (N, 2) are the width and height that each must have; with `target_sizes` (N, 2), each is
    reduced to that size. Raises `UserError` when it reads an image of another size, or one that cannot be decoded.
    """

    def __init__(
        self,
        files: Sequence[Path],
        cache_mb: int,
        sizes: NDArray[np.int64] | None = None,
        *,
        target_sizes: NDArray[np.int64] | None = None,
        disk: DiskCache | None = None,
    ) -> None:
        self.files = files
        self.sizes = sizes
        self.target_sizes = sizes if target_sizes is None else target_sizes
        self.disk: DiskCache | None = None
        self.cache: PackedImages | None = None
        size = self._bytes()
        if size <= cache_mb * 1e6:
            self.cache = PackedImages(map(self._decoded, range(len(files))), size)
        elif disk is not None and size <= disk.capacity:
            self.disk = disk

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        """(3, H, W) uint8; not to be changed. It may be a view of all: copy it before sending it to a process."""
        if self.cache is not None:
            return self.cache[index]
        if self.disk is not None:
            how = ""
            if self.sizes is not None and self.target_sizes is not None:
                how = f"{self.sizes[index]} to {self.target_sizes[index]}"
            return self.disk.fetch(self.files[index], how, partial(self._decoded, index))
        return self._decoded(index)

    def _bytes(self) -> int:
        """What all take; without their sizes, as a few of them let expect."""
        # These few are read in any case: what is wrong with all of them is then known before work starts.
        probe = [self._decoded(index).numel() for index in range(0, len(self), max(1, len(self) // PROBED))]
        if self.target_sizes is not None:
            return 3 * int(self.target_sizes.prod(axis=1).sum())
        return sum(probe) * len(self) // max(1, len(probe))

    def _decoded(self, index: int) -> Tensor:
        if self.sizes is None or self.target_sizes is None:
            return read_image(self.files[index])
        width, height = self.sizes[index].tolist()
        return downscale(read_image(self.files[index], (width, height)), *self.target_sizes[index].tolist())
