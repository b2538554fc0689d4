"""Images that are resized, normalized and padded once, for many detectors."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torchvision.models.detection.transform import GeneralizedRCNNTransform


@dataclass(frozen=True)
class PreparedImages:
    """A batch after a detector's transform; detectors take it in place of the images (see `ImageTransform`).

    `pixels` is (N, 3, H, W) float, channels last, with each image in the upper left corner and padding elsewhere.
    `sizes` are the images' heights and widths there, and `original_sizes` those before, to which boxes are scaled back.
    """

    pixels: Tensor
    sizes: list[tuple[int, int]]
    original_sizes: list[tuple[int, int]]

    def __iter__(self) -> Iterator[Tensor]:
        """Tensors without data: torchvision's detectors read the images' sizes before they transform them."""
        return (torch.empty(3, *size, device="meta") for size in self.original_sizes)

    def to(self, device: torch.device) -> "PreparedImages":
        return replace(self, pixels=self.pixels.to(device, non_blocking=True))

    def on_host(self) -> "PreparedImages":
        """In the host's memory; from a GPU, in pinned memory, from which copies to it are asynchronous."""
        return replace(self, pixels=self.pixels.cpu().pin_memory()) if self.pixels.is_cuda else self


def on_device(images: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Images (3, H, W) uint8 as float in 0-1, on `device`, as detectors take them."""
    return [image.to(device, non_blocking=True).float() / 255 for image in images]


def prepare(transform: GeneralizedRCNNTransform, images: list[Tensor]) -> PreparedImages:
    """Images (3, H, W) float in 0-1 after the `transform` of a detector in evaluation mode."""
    batch, _ = transform(images)
    pixels = batch.tensors.contiguous(memory_format=torch.channels_last)
    return PreparedImages(pixels, batch.image_sizes, [(image.shape[1], image.shape[2]) for image in images])
