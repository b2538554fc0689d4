"""How good a detector is on a data set."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from detnas.data.detection import DetectionSet
from detnas.data.images import Images
from detnas.metrics.coco import coco_scores
from detnas.models.detectors import Detector
from detnas.models.inference import detect


@dataclass(frozen=True)
class Evaluation:
    """The twelve COCO numbers, AP by class, and the detections as COCO results."""

    scores: dict[str, float | None]
    per_class: dict[str, float | None]
    results: list[dict[str, Any]]


def evaluate(
    detector: Detector,
    data: DetectionSet,
    images: Images,
    *,
    batch: int,
    device: torch.device,
    after_batch: Callable[[int], None] = lambda pictures: None,
) -> Evaluation:
    """Judge `detector` on `data`, whose pictures are `images`.

    `after_batch` is told how many pictures each batch had.
    """
    detector.eval()
    results = []
    for start in range(0, len(data), batch):
        indices = range(start, min(start + batch, len(data)))
        for index, found in zip(indices, detect(detector, [images[i] for i in indices], device), strict=True):
            results += data.results(index, found.boxes, found.scores, found.labels)
        after_batch(len(indices))
    return Evaluation(*coco_scores(data.ground_truth(), results), results)
