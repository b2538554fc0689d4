"""How good a detector is on a data set."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from detnas.data.detection import DetectionSet
from detnas.data.images import Images
from detnas.distributed import comm
from detnas.evaluation.metrics.coco import coco_scores
from detnas.evaluation.metrics.voc import voc_scores
from detnas.models.detectors.build import Detector
from detnas.models.detectors.detect import Detections, detect


@dataclass(frozen=True)
class Evaluation:
    """The twelve COCO numbers and the two of VOC, COCO's AP by class, and the detections as COCO results (of several
    processes only the first has these)."""

    scores: dict[str, float | None]
    per_class: dict[str, float | None]
    results: list[dict[str, Any]]


def evaluate(
    detector: Detector,
    data: DetectionSet,
    images: Images,
    *,
    batch_size: int,
    device: torch.device,
    after_batch: Callable[[int], None] = lambda count: None,
) -> Evaluation:
    """Judge `detector` on `data`.

    `images` are the images that `processes.shard(len(data), batch)` names, in a single process all; batches are
    alike for any number of processes, and so is the evaluation. `after_batch` is told how many images each batch had.
    """
    detector.eval()
    own = comm.shard_indices(len(data), batch_size)
    found: list[Detections] = []
    for start in range(0, len(own), batch_size):
        places = range(start, min(start + batch_size, len(own)))
        found += detect(detector, [images[place] for place in places], device)
        after_batch(len(places))
    return evaluation_of(data, own, found)


def evaluation_of(data: DetectionSet, indices: Sequence[int], found: Sequence[Detections]) -> Evaluation:
    """Of what a detector found on images of `data`; those of all processes are all of them."""
    results = merged(data, indices, found)
    scores, per_class = comm.broadcast_from_main(lambda: _scores(data, results))
    return Evaluation(scores, per_class, results)


def _scores(
    data: DetectionSet, results: list[dict[str, Any]]
) -> tuple[dict[str, float | None], dict[str, float | None]]:
    truth = data.ground_truth()
    scores, per_class = coco_scores(truth, results)
    return scores | voc_scores(truth, results), per_class


def merged(data: DetectionSet, indices: Sequence[int], found: Sequence[Detections]) -> list[dict[str, Any]]:
    """What all processes found on images of `data`, as COCO results in the order of the images, in the first
    process; nothing in the others."""
    rows = [
        np.column_stack((np.full(len(one.scores), index), one.labels, one.scores, one.boxes))
        for index, one in zip(indices, found, strict=True)
    ]
    own = np.concatenate([np.empty((0, 7)), *rows])  # float64 holds each of these numbers exactly
    everything = comm.all_gather_bytes(own.tobytes())
    if not comm.is_main_process():
        return []
    table = np.concatenate([np.frombuffer(part).reshape(-1, 7) for part in everything])
    table = table[np.argsort(table[:, 0], kind="stable")]
    starts = np.searchsorted(table[:, 0], np.arange(len(data) + 1))
    results = []
    for index in range(len(data)):
        one = table[starts[index] : starts[index + 1]]
        numbers = one[:, 2:].astype(np.float32)
        results += data.results(index, numbers[:, 1:], numbers[:, 0], one[:, 1].astype(np.int64))
    return results
