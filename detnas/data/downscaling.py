"""Images larger than a detector sees them are made smaller before they are kept, moved or changed."""

from math import ceil

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate


def downscale_sizes(sizes: NDArray[np.int64], min_size: int, max_size: int, margin: float = 1.0) -> NDArray[np.int64]:
    """The sizes (N, 2) int64 to which a detector would reduce images of `sizes` (N, 2); never larger ones.

    It resizes them so that the shorter side has `min_size` pixels, unless the longer would exceed `max_size`. One of
    the two is met exactly, so that it leaves what has been reduced as it is. (Of an image as it is, torchvision rounds
    the sides down, to a pixel less at times.) `margin`: so many times these sizes, for what will be enlarged.
    """
    shorter, longer = sizes.min(axis=1), sizes.max(axis=1)
    least, most = ceil(min_size * margin), ceil(max_size * margin)
    by_shorter = least * longer <= most * shorter  # else the longer side decides
    wanted, side = np.where(by_shorter, least, most), np.where(by_shorter, shorter, longer)
    smaller = np.maximum(1, (2 * sizes * wanted[:, None] + side[:, None]) // (2 * side[:, None]))
    return np.where((wanted < side)[:, None], smaller, sizes)


def downscale(image: Tensor, width: int, height: int) -> Tensor:
    """The image (3, H, W) uint8 in this size, as torchvision's detectors resize it: bilinear, without a low-pass.

    Within one gray level of what they would compute in floating point.
    """
    if image.shape[-2:] == (height, width):
        return image
    return interpolate(image[None], size=(height, width), mode="bilinear", align_corners=False)[0]
