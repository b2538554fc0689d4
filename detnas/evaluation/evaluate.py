"""Evaluating a detector on a data set."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from detnas.data.detection import DetectionSet
from detnas.data.images import Images
from detnas.distributed import comm
from detnas.evaluation.metrics.coco import Scores, coco_scores
from detnas.evaluation.metrics.voc import voc_scores
from detnas.models.detectors.build import Detector
from detnas.models.detectors.detect import Detections, detect


@dataclass(frozen=True)
class Evaluation:
    """The scores of a detector, and what it detected."""

    scores: Scores
    """COCO's twelve numbers and VOC's two by name, from 0 to 1; None where the data set has no such object."""
    per_class: Scores
    """COCO's AP by class name."""
    results: list[dict[str, Any]]
    """The detections as COCO results; with several processes, in the main process only."""


def evaluate(
    detector: Detector,
    data: DetectionSet,
    images: Images,
    *,
    batch_size: int,
    device: torch.device,
    after_batch: Callable[[int], None] = lambda count: None,
) -> Evaluation:
    """Evaluate `detector` on `data`; all processes call this together and return the same scores.

    `images` are those of this process, `comm.shard_indices(len(data), batch_size)`; with a single process, all. The
    batches, and so the scores, are the same for any number of processes. `after_batch` is called with the number of
    images in each batch.
    """
    detector.eval()
    shard = comm.shard_indices(len(data), batch_size)
    detections: list[Detections] = []
    for start in range(0, len(shard), batch_size):
        batch = range(start, min(start + batch_size, len(shard)))
        detections += detect(detector, [images[index] for index in batch], device)
        after_batch(len(batch))
    return evaluate_detections(data, shard, detections)


def evaluate_detections(data: DetectionSet, indices: Sequence[int], detections: Sequence[Detections]) -> Evaluation:
    """Evaluate this process's detections, on the images of `data` at `indices`, with those of all other processes."""
    results = gather_results(data, indices, detections)

    def score() -> tuple[Scores, Scores]:
        truth = data.ground_truth()
        scores, per_class = coco_scores(truth, results)
        return scores | voc_scores(truth, results), per_class

    scores, per_class = comm.broadcast_from_main(score)
    return Evaluation(scores, per_class, results)


def gather_results(
    data: DetectionSet, indices: Sequence[int], detections: Sequence[Detections]
) -> list[dict[str, Any]]:
    """The detections of all processes as COCO results in the order of the images; empty outside the main process."""
    rows = [
        np.column_stack((np.full(len(one.scores), index), one.labels, one.scores, one.boxes))
        for index, one in zip(indices, detections, strict=True)
    ]
    table = np.concatenate([np.empty((0, 7)), *rows])  # float64 holds each of these numbers exactly
    tables = comm.all_gather_bytes(table.tobytes())
    if not comm.is_main_process():
        return []
    table = np.concatenate([np.frombuffer(part).reshape(-1, 7) for part in tables])
    table = table[np.argsort(table[:, 0], kind="stable")]
    starts = np.searchsorted(table[:, 0], np.arange(len(data) + 1))
    results = []
    for index in range(len(data)):
        one = table[starts[index] : starts[index + 1]]
        numbers = one[:, 2:].astype(np.float32)
        results += data.results(index, numbers[:, 1:], numbers[:, 0], one[:, 1].astype(np.int64))
    return results
