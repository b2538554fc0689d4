"""From pixels to a network's input, for classifiers and detectors."""

import torch
from torch import Tensor

from detnas.config import Preprocessing


def normalize(images: Tensor, settings: Preprocessing) -> Tensor:
    """Normalize RGB images (…, 3, H, W), floating point in 0-1, and put their channels in the network's order.
    Raises `TypeError` for images that are not floating point."""
    if not images.is_floating_point():
        raise TypeError(f"images must be floating point, in 0-1; these are {images.dtype}")
    mean = torch.tensor(settings.image_mean, dtype=images.dtype, device=images.device)
    std = torch.tensor(settings.image_std, dtype=images.dtype, device=images.device)
    images = (images - mean[:, None, None]) / std[:, None, None]
    return images.flip(-3) if settings.channel_order == "bgr" else images
