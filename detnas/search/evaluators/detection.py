"""A candidate's fitness by detection: its mAP on the search split, with BN statistics of its own."""

import copy
from collections.abc import Iterable
from functools import partial
from typing import Self

import torch

from detnas.config import SearchSettings
from detnas.data.detection import DetectionSet
from detnas.data.disk_cache import DiskCache
from detnas.distributed import comm
from detnas.evaluation.evaluate import Evaluation, evaluate_detections
from detnas.models.backbone import Subnet, find_backbone
from detnas.models.detectors.build import Detector, set_resolution
from detnas.models.detectors.detect import detect
from detnas.models.detectors.prepared import PreparedImages
from detnas.models.supernet import Supernet, extract_subnet
from detnas.search.evaluators.base import EvaluatedRun, RunEvaluator, Scores
from detnas.search.evaluators.inputs import VALUE_BYTES, Inputs, padded_pixels
from detnas.search.evaluators.prefix_cache import PrefixCache
from detnas.search.evaluators.recalibration import evaluation_indices, recalibrate, recalibration_images
from detnas.spaces import Architecture
from detnas.utils.errors import UserError
from detnas.utils.memory import available_memory
from detnas.utils.seeds import derive_seed

MEMORY_SHARE = 0.25
"""The part of the available memory that kept maps may take."""


class DetectionEvaluator(RunEvaluator):
    """Scores candidates of a fine-tuned supernet detector, each on a copy: no call changes the next one's scores.

    It does so at the resolution of `detector`, and has another evaluator, made when it is first asked for, for each
    other resolution. The images for recalibration are drawn from `fit` by `seed` once, so that all candidates see the
    same. What candidates share, prepared images and the maps behind the same first ops, is kept, at most `cache_mb`
    megabytes a resolution.
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
        self.others: dict[int, DetectionEvaluator] = {}
        """The evaluators at other resolutions."""
        self.settings = settings
        self.device = device
        self.search = evaluation_images(search, settings, seed)
        self.shard = comm.shard_indices(len(self.search), settings.batch_size)
        """Indices in `search` of the images that this process evaluates on."""
        self.fit = fit
        self.seed = seed
        self.at_this = partial(
            DetectionEvaluator,
            fit=fit,
            search=search,
            settings=settings,
            seed=seed,
            device=device,
            cache_mb=cache_mb,
            disk=disk,
        )
        """Makes the evaluator of another detector."""
        calibration = recalibration_images(fit, settings, seed)
        evaluated = self.search.subset(self.shard)
        parts = ((calibration, settings.recalibration_batch_size), (evaluated, settings.batch_size))
        resizing = detector.transform.settings
        pixels = sum(padded_pixels(data, batch_size, resizing) for data, batch_size in parts)
        room = cache_mb * 10**6 - 3 * VALUE_BYTES * pixels
        self.inputs = partial(Inputs, detector=resizing, device=device, cache_mb=cache_mb, disk=disk)
        self.calibration, self.evaluated = (self.inputs(data, batch_size, kept=room >= 0) for data, batch_size in parts)
        supernet = find_backbone(detector)
        assert isinstance(supernet, Supernet)
        passes = sum(-(-len(data) // batch_size) for data, batch_size in parts)
        room = _room_for_maps(room) if device.type == "cpu" else 0
        self.prefixes = PrefixCache(supernet.space, pixels, passes, room)

    @classmethod
    def check(cls, run: EvaluatedRun) -> None:
        evaluation_images(run.data.search, run.recipe.search, run.seed("search"))

    @classmethod
    def from_run(cls, run: EvaluatedRun) -> Self:
        detector, data, settings = run.supernet_detector(), run.data, run.recipe.search
        seed, device, cache_mb, disk = run.seed("search"), run.device, run.recipe.data.cache_mb, run.disk_cache
        cache_mb //= len(run.sampler.space.resolution_choices)  # each resolution has its own images and maps
        return cls(detector, data.fit, data.search, settings, seed=seed, device=device, cache_mb=cache_mb, disk=disk)

    def __call__(self, architecture: Architecture) -> Scores:
        """The candidate's scores on the search split in 0-1, by name: COCO's twelve numbers and VOC's two."""
        return self.at(architecture.resolution).evaluate(architecture).scores

    def at(self, resolution: int | None) -> "DetectionEvaluator":
        """The evaluator for candidates of a resolution, with the same images; None: this one."""
        own = self.detector.transform.settings
        if resolution is None or resolution == own.min_size:
            return self
        if resolution not in self.others:
            detector = copy.deepcopy(self.detector)
            set_resolution(detector, own.at(resolution))
            self.others[resolution] = self.at_this(detector)
        return self.others[resolution]

    def evaluate(self, architecture: Architecture) -> Evaluation:
        """The whole evaluation of the recalibrated candidate on the search split."""
        candidate = extract_subnet(self.detector, architecture)
        backbone = find_backbone(candidate)
        assert isinstance(backbone, Subnet)
        with self.prefixes.shared(backbone):
            recalibrate(candidate, self.calibration)
            return self.evaluate_candidate(candidate)

    def draw_other_calibration(self) -> Inputs:
        """As many batches for recalibration as all candidates see, of images drawn again; they are not kept."""
        images = recalibration_images(self.fit, self.settings, derive_seed(self.seed, "other pictures"))
        return self.inputs(images, self.settings.recalibration_batch_size, kept=False)

    def evaluate_with(self, architecture: Architecture, batches: Iterable[PreparedImages] | None) -> Evaluation:
        """The evaluation of a candidate that is recalibrated on `batches`, or not at all."""
        return self.evaluate_candidate(self.extract_candidate(architecture, batches))

    def extract_candidate(self, architecture: Architecture, batches: Iterable[PreparedImages] | None) -> Detector:
        """A copy of the candidate in evaluation mode, recalibrated on `batches`; if None, with the statistics that the
        supernet gathered in its training."""
        candidate = extract_subnet(self.detector, architecture).eval()
        if batches is not None:
            recalibrate(candidate, batches)
        return candidate

    def evaluate_candidate(self, candidate: Detector) -> Evaluation:
        """The evaluation of an extracted candidate on the search split."""
        found = [one for images in self.evaluated for one in detect(candidate, images, self.device)]
        return evaluate_detections(self.search, self.shard, found)


def _room_for_maps(room: int) -> int:
    """What of `room` bytes may be taken without exhausting the memory: a long search fills all that it is given."""
    available = available_memory()
    return room if available is None else min(room, int(MEMORY_SHARE * available))


def evaluation_images(search: DetectionSet, settings: SearchSettings, seed: int) -> DetectionSet:
    """The images of the search split that candidates are evaluated on. Raises `UserError` if none holds a box."""
    search = search.subset(evaluation_indices(len(search), settings, seed))
    if search.crowd.all():
        raise UserError(
            f"search.images = {settings.images}: those drawn from the search split hold no box; raise it, or leave "
            "it out to take them all"
        )
    return search
