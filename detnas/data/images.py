"""Decoding pictures, and keeping them in memory when they fit."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image

from detnas.errors import UserError

PROBED = 20
"""Pictures decoded to judge whether all fit in memory."""


def read_image(path: Path) -> Tensor:
    """A picture as RGB, (3, H, W) uint8. Raises `UserError` if it cannot be decoded."""
    try:
        image: Tensor = decode_image(str(path), ImageReadMode.RGB)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: this picture cannot be decoded ({reason}); replace it") from None
    # PNG files of 16 bits a channel are decoded as such.
    return image if image.dtype == torch.uint8 else (image.float() / 257).round().to(torch.uint8)


class Images:
    """Decoded pictures by index: kept once read if all take about `cache_mb` megabytes at most."""

    def __init__(self, files: Sequence[Path], cache_mb: int) -> None:
        self.files = files
        probe = [read_image(file).numel() for file in files[:: max(1, len(files) // PROBED)]]
        fits = sum(probe) / max(1, len(probe)) * len(files) <= cache_mb * 1e6
        self.cache = [read_image(file) for file in files] if fits else None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        """(3, H, W) uint8; not to be changed."""
        return read_image(self.files[index]) if self.cache is None else self.cache[index]
