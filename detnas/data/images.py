"""Images as tensors, downscaled to a detector's input, and cached if they fit into memory or on disk."""

from collections.abc import Sequence
from functools import partial
from math import ceil
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from detnas.data.decoding import Size, read_pixels
from detnas.data.disk_cache import DiskCache
from detnas.data.packed_images import PackedImages
from detnas.utils.errors import UserError

PROBED = 20
"""Number of images that are decoded to estimate the size of all, and to detect bad files early."""


def read_image(path: Path, size: Size | None = None) -> Tensor:
    """An image as RGB, (3, H, W) uint8, with its orientation applied by the rule of `decoding`.

    Its memory format is channels last, in which crops are resized several times as fast.
    Raises `UserError` if it cannot be decoded, or if its width and height are not `size`.
    """
    return torch.from_numpy(read_pixels(path, size).copy()).permute(2, 0, 1)


class Images:
    """Decoded images by index, cached if all of them fit.

    They are decoded at once and kept in memory if they take at most about `cache_mb` megabytes; otherwise they are
    stored in `disk` when they are first read, if its capacity suffices. `sizes` (N, 2) are the width and height that
    the files must have; with `target_sizes` (N, 2), images are downscaled to these. Raises `UserError` when it reads an
    image of another size, or one that cannot be decoded.
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
        """(3, H, W) uint8, not to be changed. It may be a view of the whole cache: copy it to send it to a process."""
        if self.cache is not None:
            return self.cache[index]
        if self.disk is not None:
            how = ""
            if self.sizes is not None and self.target_sizes is not None:
                how = f"{self.sizes[index]} to {self.target_sizes[index]}"
            return self.disk.fetch(self.files[index], how, partial(self._decoded, index))
        return self._decoded(index)

    def _bytes(self) -> int:
        """The bytes of all images; without `sizes`, an estimate from a few of them."""
        # A few are read in any case, so that what is wrong with all images is known before work starts.
        probe = [self._decoded(index).numel() for index in range(0, len(self), max(1, len(self) // PROBED))]
        if self.target_sizes is not None:
            return 3 * int(self.target_sizes.prod(axis=1).sum())
        return sum(probe) * len(self) // max(1, len(probe))

    def _decoded(self, index: int) -> Tensor:
        if self.sizes is None or self.target_sizes is None:
            return read_image(self.files[index])
        width, height = self.sizes[index].tolist()
        return downscale(read_image(self.files[index], (width, height)), *self.target_sizes[index].tolist())


def resized_sizes(sizes: NDArray[np.int64], min_size: int, max_size: int) -> NDArray[np.int64]:
    """The sizes (N, 2), width and height, to which torchvision's detectors resize images of `sizes` (N, 2): the shorter
    side has `min_size` pixels, unless the longer one would exceed `max_size`."""
    scale = np.minimum(min_size / sizes.min(axis=1), max_size / sizes.max(axis=1))
    resized: NDArray[np.int64] = np.floor(sizes * scale[:, None]).astype(np.int64)
    return resized


def downscale_sizes(sizes: NDArray[np.int64], min_size: int, max_size: int, margin: float = 1.0) -> NDArray[np.int64]:
    """The sizes (N, 2) int64, width and height, to which a detector downscales images of `sizes` (N, 2); never larger.

    torchvision's detectors resize images so that the shorter side has `min_size` pixels, unless the longer side would
    exceed `max_size`. Here one of the two is met exactly, so that the detector leaves a downscaled image as it is. (For
    other images torchvision rounds the sides down, sometimes by a pixel.) `margin` multiplies both sizes, for images
    that will be enlarged by augmentation.
    """
    shorter, longer = sizes.min(axis=1), sizes.max(axis=1)
    least, most = ceil(min_size * margin), ceil(max_size * margin)
    by_shorter = least * longer <= most * shorter  # else the longer side decides
    wanted, side = np.where(by_shorter, least, most), np.where(by_shorter, shorter, longer)
    smaller = (2 * sizes * wanted[:, None] + side[:, None]) // (2 * side[:, None])
    # Of an image that `find_vanishing` lets pass, something must be left where the detector reduces it again.
    reduced = smaller.max(axis=1, keepdims=True)
    smaller = np.maximum(smaller, np.minimum(sizes, np.where(reduced > max_size, reduced // max_size + 1, 1)))
    return np.where((wanted < side)[:, None], smaller, sizes)


def find_vanishing(sizes: NDArray[np.int64], max_size: int) -> NDArray[np.int64]:
    """Indices of the `sizes` (N, 2) so long and thin that nothing is left of the shorter side where the longer is
    reduced to `max_size`.

    torchvision rounds the sides down. An image of which exactly one pixel would be left counts as vanishing, so that no
    rounding of the scale matters.
    """
    return np.flatnonzero(sizes.min(axis=1) * max_size <= sizes.max(axis=1))


def check_sizes(files: Sequence[Path], sizes: NDArray[np.int64], max_size: int) -> None:
    """Raise `UserError` if nothing is left of an image of these `sizes` (N, 2) in a detector with this `max_size`."""
    vanishing = find_vanishing(sizes, max_size)
    if len(vanishing):
        width, height = sizes[vanishing[0]].tolist()
        raise UserError(
            f"{files[vanishing[0]]}: nothing is left of the shorter side of its {width}x{height} pixels where the "
            f"longer is reduced to detector.max_size = {max_size}; cut it into pieces, or train with a larger max_size"
        )


def downscale(image: Tensor, width: int, height: int) -> Tensor:
    """Resize an image (3, H, W) uint8 as torchvision's detectors do, to within one gray level: without antialiasing."""
    if image.shape[-2:] == (height, width):
        return image
    return interpolate(image[None], size=(height, width), mode="bilinear", align_corners=False)[0]
