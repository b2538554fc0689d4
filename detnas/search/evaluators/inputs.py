"""The images that every candidate of a search sees, in batches as detectors take them."""

from collections.abc import Iterator

import numpy as np
import torch

from detnas.config import DetectorSettings
from detnas.config.detector import PADDED_TO
from detnas.data.detection import DetectionSet
from detnas.data.disk_cache import DiskCache
from detnas.data.images import Images, resized_sizes
from detnas.models.detectors.geometry import ImageTransform
from detnas.models.detectors.prepared import PreparedImages, on_device, prepare

VALUE_BYTES = 4
"""Bytes of a float32."""


class Inputs:
    """Iterates over the images of `data` in batches, any number of times: decoded, resized, normalized and padded once
    if they are `kept`, and each time if not; then the decoded images are kept as `Images` says.

    Raises `UserError` for an image that cannot be decoded or is not as large as it should be.
    """

    def __init__(
        self,
        data: DetectionSet,
        batch_size: int,
        detector: DetectorSettings,
        device: torch.device,
        *,
        kept: bool,
        cache_mb: int,
        disk: DiskCache | None,
    ) -> None:
        self.data = data
        self.batch_size = batch_size
        self.device = device
        self.transform = ImageTransform(detector).eval()
        self.images = Images(data.files, 0 if kept else cache_mb, data.sizes, disk=None if kept else disk)
        self.batches = [batch.on_host() for batch in self._prepared()] if kept else None

    def __iter__(self) -> Iterator[PreparedImages]:
        if self.batches is None:
            return self._prepared()
        return (batch.to(self.device) for batch in self.batches)

    def _prepared(self) -> Iterator[PreparedImages]:
        for start in range(0, len(self.data), self.batch_size):
            places = range(start, min(start + self.batch_size, len(self.data)))
            yield prepare(self.transform, on_device([self.images[place] for place in places], self.device))


def padded_pixels(data: DetectionSet, batch_size: int, detector: DetectorSettings) -> int:
    """The pixels of all batches together, as the detector resizes and pads them."""
    sides = resized_sizes(data.sizes, detector.min_size, detector.max_size)
    pixels = 0
    for start in range(0, len(data), batch_size):
        of_batch = sides[start : start + batch_size]
        pixels += len(of_batch) * int((PADDED_TO * np.ceil(of_batch.max(axis=0) / PADDED_TO)).prod())
    return pixels
