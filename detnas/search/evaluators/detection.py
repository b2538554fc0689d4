"""The fitness of a candidate: its mAP on the search split, with BN statistics of its own."""

from collections.abc import Iterable
from functools import partial

import torch

from detnas.config import SearchSettings
from detnas.data.detection import DetectionSet
from detnas.data.disk_cache import DiskCache
from detnas.distributed import comm
from detnas.evaluation.evaluate import Evaluation, evaluation_of
from detnas.models.backbone import Subnet, find_backbone
from detnas.models.detectors.build import Detector
from detnas.models.detectors.detect import detect
from detnas.models.detectors.prepared import PreparedImages
from detnas.models.supernet import Supernet, extract_subnet
from detnas.search.evaluators.base import Scores
from detnas.search.evaluators.inputs import Inputs, input_bytes, padded_pixels
from detnas.search.evaluators.prefix_cache import PrefixCache
from detnas.search.evaluators.recalibration import evaluation_indices, recalibrate, recalibration_indices
from detnas.spaces import Architecture
from detnas.utils.errors import UserError
from detnas.utils.memory import available_memory
from detnas.utils.seeds import derive_seed

MEMORY_SHARE = 0.25
"""Of the available memory, what maps may take."""


class DetectionEvaluator:
    """Judges candidates of a trained supernet detector, each on a copy: no call changes the next one's answer.

    Images for recalibration are drawn from `fit` by `seed` once, so that all candidates see the same. What all of
    them take and compute alike is kept, of inputs and maps together at most `cache_mb` megabytes.
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
        self.search = evaluation_images(search, settings, seed)
        self.own = comm.shard_indices(len(self.search), settings.batch_size)
        """Indices in `search` of the images that this process evaluates on."""
        self.fit = fit
        self.seed = seed
        calibration = fit.subset(recalibration_indices(len(fit), settings, seed))
        judged = self.search.subset(self.own)
        parts = ((calibration, settings.recalibration_batch_size), (judged, settings.batch_size))
        resizing = detector.transform.settings
        pixels = sum(padded_pixels(data, batch, resizing) for data, batch in parts)
        room = cache_mb * 10**6 - input_bytes(pixels)
        self.inputs = partial(Inputs, detector=resizing, device=device, cache_mb=cache_mb, disk=disk)
        self.calibration, self.judged = (self.inputs(data, batch, kept=room >= 0) for data, batch in parts)
        supernet = find_backbone(detector)
        assert isinstance(supernet, Supernet)
        passes = sum(-(-len(data) // batch) for data, batch in parts)
        room = _room_for_maps(room) if device.type == "cpu" else 0
        self.prefixes = PrefixCache(supernet.space, pixels, passes, room)

    def __call__(self, architecture: Architecture) -> Scores:
        """The candidate's scores on the search split in 0-1, by name: COCO's twelve numbers and VOC's two."""
        return self.evaluate(architecture).scores

    def evaluate(self, architecture: Architecture) -> Evaluation:
        """The whole evaluation of the recalibrated candidate on the search split."""
        candidate = extract_subnet(self.detector, architecture)
        backbone = find_backbone(candidate)
        assert isinstance(backbone, Subnet)
        with self.prefixes.shared(backbone):
            recalibrate(candidate, self.calibration)
            return self.evaluation(candidate)

    def other_calibration(self) -> Inputs:
        """As many batches for recalibration as those that all candidates see, of images drawn again; kept nowhere."""
        images = recalibration_indices(len(self.fit), self.settings, derive_seed(self.seed, "other pictures"))
        return self.inputs(self.fit.subset(images), self.settings.recalibration_batch_size, kept=False)

    def with_statistics_of(self, architecture: Architecture, batches: Iterable[PreparedImages] | None) -> Evaluation:
        """The evaluation of `candidate` with these batches."""
        return self.evaluation(self.candidate(architecture, batches))

    def candidate(self, architecture: Architecture, batches: Iterable[PreparedImages] | None) -> Detector:
        """The candidate alone, in evaluation mode, recalibrated on these batches; without any, with the statistics that
        the supernet gathered."""
        candidate = extract_subnet(self.detector, architecture).eval()
        if batches is not None:
            recalibrate(candidate, batches)
        return candidate

    def evaluation(self, candidate: Detector) -> Evaluation:
        """How good it is on the search split; as calling this with its architecture says, where nothing races."""
        found = [one for images in self.judged for one in detect(candidate, images, self.device)]
        return evaluation_of(self.search, self.own, found)


def _room_for_maps(room: int) -> int:
    """Of `room` bytes, what can be taken without pressing others: the maps of a long search fill all they are given."""
    available = available_memory()
    return room if available is None else min(room, int(MEMORY_SHARE * available))


def evaluation_images(search: DetectionSet, settings: SearchSettings, seed: int) -> DetectionSet:
    """The images of the search split that candidates are judged on.

    Raises `UserError` if none of them holds a box.
    """
    search = search.subset(evaluation_indices(len(search), settings, seed))
    if search.crowd.all():
        raise UserError(
            f"search.images = {settings.images}: those drawn from the search split hold no box; raise it, or leave "
            "it out to take them all"
        )
    return search
