"""The fitness of a candidate: its mAP on the search split, with BN statistics of its own."""

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain, islice

import torch

from detnas.config import SearchSettings
from detnas.data.detection import DetectionSet
from detnas.data.disk_cache import DiskCache
from detnas.distributed import comm
from detnas.evaluation.evaluate import Evaluation, evaluation_of, merged
from detnas.evaluation.metrics.resampling import resampled_scores
from detnas.models.backbone import Subnet, Supernet, extract_subnet, find_backbone
from detnas.models.detectors.build import Detector
from detnas.models.detectors.detect import Detections, detect
from detnas.models.detectors.prepared import PreparedPictures
from detnas.search.evaluators.inputs import Inputs, input_bytes, padded_pixels
from detnas.search.evaluators.prefix_cache import Prefixes
from detnas.search.evaluators.racing import GoesOn, Rounds, always
from detnas.search.evaluators.recalibration import calibration_pictures, judged_pictures, recalibrate
from detnas.spaces import Architecture
from detnas.utils.errors import UserError
from detnas.utils.memory import available_memory
from detnas.utils.seeds import seed_of

MEMORY_SHARE = 0.25
"""Of the available memory, what maps may take."""


class Fitness:
    """Judges candidates of a trained supernet detector, each on a copy: no call changes the next one's answer.

    Pictures for recalibration are drawn from `fit` by `seed` once, so that all candidates see the same. What all of
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
        self.search = search_pictures(search, settings, seed)
        self.rounds = Rounds(len(self.search), settings.batch, settings.racing, seed)
        self.own = list(chain(*self.rounds.own))
        """Places in `search` of the pictures that this process judges, one round after the other."""
        self.fit = fit
        self.seed = seed
        calibration = fit.subset(calibration_pictures(len(fit), settings, seed))
        judged = self.search.subset(self.own)
        parts = ((calibration, settings.recalibration_batch), (judged, settings.batch))
        resizing = detector.transform.settings
        pixels = sum(padded_pixels(data, batch, resizing) for data, batch in parts)
        room = cache_mb * 10**6 - input_bytes(pixels)
        self.inputs = partial(Inputs, detector=resizing, device=device, cache_mb=cache_mb, disk=disk)
        self.calibration, self.judged = (self.inputs(data, batch, kept=room >= 0) for data, batch in parts)
        supernet = find_backbone(detector)
        assert isinstance(supernet, Supernet)
        passes = sum(-(-len(data) // batch) for data, batch in parts)
        room = _room_for_maps(room) if device.type == "cpu" else 0
        self.prefixes = Prefixes(supernet.space, pixels, passes, room)

    def __call__(self, architecture: Architecture, goes_on: GoesOn = always) -> Evaluation | None:
        """The candidate's evaluation on the search split, its fitness being the score that `search.metric` names.

        None if `goes_on`, which is asked after each of the first rounds, says that it does not.
        """
        candidate = extract_subnet(self.detector, architecture)
        backbone = find_backbone(candidate)
        assert isinstance(backbone, Subnet)
        found: list[Detections] = []
        with self.prefixes.shared(backbone):
            recalibrate(candidate, self.calibration)
            batches = iter(self.judged)
            for done, own in enumerate(self.rounds.own, start=1):
                for pictures in islice(batches, -(-len(own) // self.settings.batch)):
                    found += detect(candidate, pictures, self.device)
                if done < len(self.rounds) and not self._goes_on(done, found, goes_on):
                    return None
        return evaluation_of(self.search, self.own, found)

    def other_calibration(self) -> Inputs:
        """As many batches for recalibration as those that all candidates see, of pictures drawn anew; kept nowhere."""
        pictures = calibration_pictures(len(self.fit), self.settings, seed_of(self.seed, "other pictures"))
        return self.inputs(self.fit.subset(pictures), self.settings.recalibration_batch, kept=False)

    def with_statistics_of(self, architecture: Architecture, batches: Iterable[PreparedPictures] | None) -> Evaluation:
        """The evaluation of `candidate` with these batches."""
        return self.evaluation(self.candidate(architecture, batches))

    def candidate(self, architecture: Architecture, batches: Iterable[PreparedPictures] | None) -> Detector:
        """The candidate alone, in evaluation mode, recalibrated on these batches; without any, with the statistics that
        the supernet gathered."""
        candidate = extract_subnet(self.detector, architecture).eval()
        if batches is not None:
            recalibrate(candidate, batches)
        return candidate

    def evaluation(self, candidate: Detector) -> Evaluation:
        """How good it is on the search split; as calling this with its architecture says, where nothing races."""
        found = [one for pictures in self.judged for one in detect(candidate, pictures, self.device)]
        return evaluation_of(self.search, self.own, found)

    def _goes_on(self, done: int, found: Sequence[Detections], goes_on: GoesOn) -> bool:
        """Ask about a candidate that found this in the first `done` rounds."""
        results = merged(self.search, self.own[: len(found)], found)

        def ask() -> bool:
            truth = self.search.subset(self.rounds.judged(done)).ground_truth()
            scores = resampled_scores(truth, results, self.settings.metric, self.rounds.resamples(done))
            return goes_on(self.rounds.standing(done, scores))

        return comm.from_first(ask)


def _room_for_maps(room: int) -> int:
    """Of `room` bytes, what can be taken without pressing others: the maps of a long search fill all they are given."""
    available = available_memory()
    return room if available is None else min(room, int(MEMORY_SHARE * available))


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
