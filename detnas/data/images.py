"""Decoding pictures, and keeping them in memory when they fit."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from detnas.errors import UserError

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
"""What a file in a folder is called that is taken for a picture."""

UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
"""What Pillow raises on files that are no pictures, or damaged ones."""

PROBED = 20
"""Pictures decoded to judge whether all fit in memory."""


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
        image = read_image(self.files[index])
        if self.sizes is not None:
            height, width = image.shape[-2:]
            stated_width, stated_height = self.sizes[index].tolist()
            if (width, height) != (stated_width, stated_height):
                raise UserError(
                    f"{self.files[index]}: the picture has {width}x{height} pixels, but the annotations say "
                    f"{stated_width}x{stated_height}; mend width and height there, or the picture"
                )
        return image
