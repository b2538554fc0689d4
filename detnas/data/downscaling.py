"""Downscaling of images that are larger than a detector's input, before they are cached, transferred or augmented."""

from math import ceil

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate


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
    smaller = np.maximum(1, (2 * sizes * wanted[:, None] + side[:, None]) // (2 * side[:, None]))
    return np.where((wanted < side)[:, None], smaller, sizes)


def downscale(image: Tensor, width: int, height: int) -> Tensor:
    """Resize an image (3, H, W) uint8 as torchvision's detectors do: bilinear, without antialiasing.

    The result is within one gray level of what they compute in floating point.
    """
    if image.shape[-2:] == (height, width):
        return image
    return interpolate(image[None], size=(height, width), mode="bilinear", align_corners=False)[0]
