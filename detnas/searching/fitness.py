"""The fitness of a candidate: its mAP on the search split, with BN statistics of its own."""

from typing import Any

import torch

from detnas import processes
from detnas.config import SearchSettings
from detnas.data.detection import DetectionSet
from detnas.data.disk_cache import DiskCache
from detnas.data.images import Images
from detnas.errors import UserError
from detnas.models.detectors import Detector
from detnas.searching.evaluation import Evaluation, evaluate
from detnas.searching.recalibration import calibrated_candidate, calibration_pictures, judged_pictures
from detnas.spaces import Architecture


class Fitness:
    """Judges candidates of a trained supernet detector, each on a copy: no call changes the next one's answer.

    Pictures for recalibration are drawn from `fit` by `seed` once, so that all candidates see the same.
    """

    def __init__(
        self,
        detector: Detector,
        fit: DetectionSet,
        search: DetectionSet,
        settings: SearchSettings,
        *,
        seed: int,
        device: torch.device,
        cache_mb: int,
        disk: DiskCache | None = None,
    ) -> None:
        self.detector = detector
        self.settings = settings
        self.device = device
        calibration = fit.subset(calibration_pictures(len(fit), settings, seed))
        self.calibration = Images(calibration.files, cache_mb, calibration.sizes, disk=disk)
        self.search = search_pictures(search, settings, seed)
        own = self.search.subset(processes.share(len(self.search), settings.batch))
        self.images = Images(own.files, cache_mb, own.sizes, disk=disk)

    def __call__(self, architecture: Architecture) -> Evaluation:
        """The candidate's evaluation on the search split; its fitness is the score that `search.metric` names."""
        candidate = calibrated_candidate(self.detector, architecture, self._calibration_batches())
        return evaluate(candidate, self.search, self.images, batch=self.settings.batch, device=self.device)

    def _calibration_batches(self) -> Any:
        size = self.settings.recalibration_batch
        for start in range(0, len(self.calibration), size):
            yield [
                self.calibration[index].to(self.device).float() / 255
                for index in range(start, min(start + size, len(self.calibration)))
            ]


def search_pictures(search: DetectionSet, settings: SearchSettings, seed: int) -> DetectionSet:
    """The pictures of the search split that candidates are judged on.

    Raises `UserError` if none of them holds a box.
    """
    search = search.subset(judged_pictures(len(search), settings, seed))
    if search.crowd.all():
        raise UserError(
            f"search.pictures = {settings.pictures}: those drawn from the search split hold no box; raise it, or leave "
            "it out to take them all"
        )
    return search
