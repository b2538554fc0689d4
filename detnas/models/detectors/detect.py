"""Running a detector on images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from detnas.models.detectors.build import Detector, first_label
from detnas.models.detectors.prepared import PreparedImages, on_device


@dataclass(frozen=True)
class Detections:
    """Detections on one image, highest score first: `boxes` (n, 4) float32, x1, y1, x2, y2 in its pixels; `scores` (n,)
    float32 in 0-1; `labels` (n,) int64 from 0."""

    boxes: NDArray[Any]
    scores: NDArray[Any]
    labels: NDArray[Any]


@torch.inference_mode()
def detect(detector: Detector, images: Sequence[Tensor] | PreparedImages, device: torch.device) -> list[Detections]:
    """Detections on images (3, H, W) uint8 RGB, or on prepared ones. `detector` is in evaluation mode, on `device`."""
    inputs = images.to(device) if isinstance(images, PreparedImages) else on_device(images, device)
    return [
        Detections(
            output["boxes"].float().cpu().numpy(),
            output["scores"].float().cpu().numpy(),
            (output["labels"] - first_label(detector)).cpu().numpy(),
        )
        for output in detector(inputs)
    ]
