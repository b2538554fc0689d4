"""Decoding pictures, and keeping them in memory when they fit."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from detnas.data.disk_cache import DiskCache
from detnas.data.picture_block import PictureBlock
from detnas.data.reduction import reduced
from detnas.errors import UserError

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
"""What a file in a folder is called that is taken for a picture."""

UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
"""What Pillow raises on files that are no pictures, or damaged ones."""

PROBED = 20
"""Pictures decoded to judge how much room all take, and whether they are as they should be."""


def read_image(path: Path) -> Tensor:
    """A picture as RGB, (3, H, W) uint8. Raises `UserError` if it cannot be decoded."""
    try:
        with Image.open(path) as image:
            pixels = _rgb(image)
    except UNREADABLE as error:
        raise UserError(f"{path}: this picture cannot be decoded ({_reason(error)}); replace it") from None
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """The pixels as (H, W, 3)."""
    if image.mode in ("I", "F"):
        raise ValueError("32 bits a channel")
    if image.mode.startswith("I;16"):
        # Grey of 16 bits, which `convert` would cut off at 255. Colours of 16 bits are opened as bytes.
        grey = np.rint(np.asarray(image, np.float32) / 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))  # convert always copies


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "its format is unknown"
    return str(getattr(error, "strerror", None) or error).partition("\n")[0]


class Images:
    """Pictures by index, decoded: all kept if they fit, else decoded each time.

    They are kept in memory if they take about `cache_mb` megabytes at most, or else, as they are read, by `disk` if
    they can fit there. `sizes` (N, 2) are the width and height that each must have; with `seen` (N, 2), each is
    reduced to that size. Raises `UserError` when it reads a picture of another size, or one that cannot be decoded.
    """

    def __init__(
        self,
        files: Sequence[Path],
        cache_mb: int,
        sizes: NDArray[np.int64] | None = None,
        *,
        seen: NDArray[np.int64] | None = None,
        disk: DiskCache | None = None,
    ) -> None:
        self.files = files
        self.sizes = sizes
        self.seen = sizes if seen is None else seen
        self.disk: DiskCache | None = None
        self.cache: PictureBlock | None = None
        size = self._bytes()
        if size <= cache_mb * 1e6:
            self.cache = PictureBlock(map(self._decoded, range(len(files))), size)
        elif disk is not None and size <= disk.capacity:
            self.disk = disk

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        """(3, H, W) uint8; not to be changed. It may be a view of all: copy it before sending it to a process."""
        if self.cache is not None:
            return self.cache[index]
        if self.disk is not None:
            how = "" if self.sizes is None or self.seen is None else f"{self.sizes[index]} to {self.seen[index]}"
            return self.disk.fetch(self.files[index], how, partial(self._decoded, index))
        return self._decoded(index)

    def _bytes(self) -> int:
        """What all take; without their sizes, as a few of them let expect."""
        # These few are read in any case: what is wrong with all of them is then known before work starts.
        probe = [self._decoded(index).numel() for index in range(0, len(self), max(1, len(self) // PROBED))]
        if self.seen is not None:
            return 3 * int(self.seen.prod(axis=1).sum())
        return sum(probe) * len(self) // max(1, len(probe))

    def _decoded(self, index: int) -> Tensor:
        image = read_image(self.files[index])
        if self.sizes is None or self.seen is None:
            return image
        height, width = image.shape[-2:]
        stated_width, stated_height = self.sizes[index].tolist()
        if (width, height) != (stated_width, stated_height):
            raise UserError(
                f"{self.files[index]}: the picture has {width}x{height} pixels, but the annotations say "
                f"{stated_width}x{stated_height}; mend width and height there, or the picture"
            )
        return reduced(image, *self.seen[index].tolist())
