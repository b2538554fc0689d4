"""Decoded images in one block of memory."""

from collections.abc import Iterable

import torch
from torch import Tensor


def flatten_image(image: Tensor) -> Tensor:
    """The values of an image (3, H, W) as a tensor (H * W * 3,), channels last, as `unflatten_image` takes them."""
    return image.permute(1, 2, 0).flatten()


def unflatten_image(values: Tensor, height: int, width: int) -> Tensor:
    """The image (3, H, W) of values from `flatten_image`, as a view."""
    return values.view(height, width, 3).permute(2, 0, 1)


class PackedImages:
    """Images (3, H, W) uint8 in one tensor, which forks read without copies; it grows if `room` bytes are too few."""

    def __init__(self, images: Iterable[Tensor], room: int) -> None:
        self.pixels = torch.empty(room, dtype=torch.uint8)
        sizes, starts, end = [], [], 0
        for image in images:
            starts.append(end)
            sizes.append(image.shape[1:])
            end += image.numel()
            if end > len(self.pixels):
                self.pixels = torch.cat((self.pixels[: starts[-1]], torch.empty(end, dtype=torch.uint8)))
            self.pixels[starts[-1] : end] = flatten_image(image)
        self.starts = torch.tensor(starts, dtype=torch.int64)
        self.sizes = torch.tensor(sizes, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> Tensor:
        """A view, not to be changed."""
        start, (height, width) = int(self.starts[index]), self.sizes[index].tolist()
        return unflatten_image(self.pixels[start : start + 3 * height * width], height, width)
