"""How good a detector is on a data set."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from detnas.data.detection import DetectionSet
from detnas.data.images import Images
from detnas.metrics.coco import coco_scores
from detnas.metrics.voc import voc_scores
from detnas.models.detectors import Detector
from detnas.models.inference import detect


@dataclass(frozen=True)
class Evaluation:
    """The twelve COCO numbers and the two of VOC, COCO's AP by class, and the detections as COCO results."""

    scores: dict[str, float | None]
    per_class: dict[str, float | None]
    results: list[dict[str, Any]]


def headline(scores: dict[str, float | None], metric: str) -> str:
    """mAP, AP50 and, if it is another, the score that guided the search, for people."""
    names = dict.fromkeys(("mAP", "AP50", metric))
    return ", ".join(f"{name} {scores[name]:.3f}" for name in names)


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
    truth = data.ground_truth()
    scores, per_class = coco_scores(truth, results)
    return Evaluation(scores | voc_scores(truth, results), per_class, results)
