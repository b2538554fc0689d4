"""Running a detector on pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from detnas.models.detectors import Detector, first_label


@dataclass(frozen=True)
class Detections:
    """What was found on one picture, best first: `boxes` (n, 4) float32, x1, y1, x2, y2 in its pixels; `scores` (n,)
    float32 in 0-1; `labels` (n,) int64 from 0."""

    boxes: NDArray[Any]
    scores: NDArray[Any]
    labels: NDArray[Any]


@torch.inference_mode()
def detect(detector: Detector, images: Sequence[Tensor], device: torch.device) -> list[Detections]:
    """Detections on pictures (3, H, W) uint8 RGB. The detector must be in evaluation mode, on `device`."""
    outputs = detector([image.to(device, non_blocking=True).float() / 255 for image in images])
    return [
        Detections(
            output["boxes"].float().cpu().numpy(),
            output["scores"].float().cpu().numpy(),
            (output["labels"] - first_label(detector)).cpu().numpy(),
        )
        for output in outputs
    ]
