"""The fitness of a candidate by classification: its accuracy on the search split (the paper's ClsNAS)."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detnas.config import SearchSettings
from detnas.data.samples import Key
from detnas.distributed import comm
from detnas.models.backbone import extract_subnet
from detnas.models.classifier import Classifier
from detnas.search.evaluators.racing import GoesOn, Rounds, always
from detnas.search.evaluators.recalibration import calibration_pictures, judged_pictures, recalibrate
from detnas.spaces import Architecture
from detnas.utils.seeds import seed_of


class Accuracy:
    """Judges candidates of a trained supernet classifier, each on a copy: no call changes the next one's answer.

    `fit` and `search` are samples as they are judged, pictures (3, S, S) uint8 with a class; `inputs` makes of a
    batch of them, (N, 3, S, S), what the classifier takes. Those for recalibration are drawn from `fit` by `seed`
    once, so that all candidates see the same.
    """

    def __init__(
        self,
        classifier: Classifier,
        fit: Any,
        search: Any,
        inputs: Callable[[Tensor], Tensor],
        settings: SearchSettings,
        *,
        seed: int,
        cache_mb: int,
    ) -> None:
        self.classifier = classifier
        self.inputs = inputs
        calibration = calibration_pictures(len(fit), settings, seed)
        self.calibration = Batches(fit, _keys(calibration, seed), settings.recalibration_batch, cache_mb)
        judged = _keys(judged_pictures(len(search), settings, seed), seed)
        self.rounds = Rounds(len(judged), settings.batch, settings.racing, seed)
        self.own = list(chain(*self.rounds.own))
        self.judged = Batches(search, [judged[place] for place in self.own], settings.batch, cache_mb)

    def __call__(self, architecture: Architecture, goes_on: GoesOn = always) -> dict[str, float | None] | None:
        """The candidate's scores on the search split, its fitness being `accuracy`.

        None if `goes_on`, which is asked after each of the first rounds, says that it does not.
        """
        calibration = (self.inputs(pictures) for pictures, _ in self.calibration)
        candidate = extract_subnet(self.classifier, architecture)
        recalibrate(candidate, calibration)
        batches = iter(self.judged)
        right: list[bool] = []
        for done, own in enumerate(self.rounds.own, start=1):
            for pictures, labels in islice(batches, -(-len(own) // self.judged.batch)):
                with torch.inference_mode():
                    found = candidate(self.inputs(pictures)).argmax(dim=1).cpu()
                right += (found == labels).tolist()
            if done < len(self.rounds) and not self._goes_on(done, right, goes_on):
                return None
        return {"accuracy": comm.total(sum(right)) / self.rounds.size}

    def _goes_on(self, done: int, right: Sequence[bool], goes_on: GoesOn) -> bool:
        """Ask about a candidate that is right on these of its pictures in the first `done` rounds."""
        places = [place for place, is_right in zip(self.own, right, strict=False) if is_right]
        everywhere = comm.gathered(np.array(places, np.int64).tobytes())

        def ask() -> bool:
            all_right = np.concatenate([np.frombuffer(part, np.int64) for part in everywhere])
            judged = self.rounds.judged(done)
            times = self.rounds.resamples(done)
            return goes_on(self.rounds.standing(done, times @ np.isin(judged, all_right) / times.sum(axis=1)))

        return comm.from_first(ask)


class Batches:
    """Batches of samples, pictures (N, 3, S, S) uint8 and classes (N,), again and again.

    They are prepared once and kept if all take at most `cache_mb` megabytes, else prepared anew each time.
    """

    def __init__(self, samples: Any, keys: Sequence[Key], batch: int, cache_mb: int) -> None:
        self.samples = samples
        self.keys = keys
        self.batch = batch
        megabytes = len(keys) * samples[keys[0]][0].numel() / 1e6 if keys else 0
        self.kept = list(self._prepared()) if megabytes <= cache_mb else None

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self._prepared() if self.kept is None else iter(self.kept)

    def _prepared(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self.keys), self.batch):
            pictures, labels = zip(*(self.samples[key] for key in self.keys[start : start + self.batch]), strict=True)
            yield torch.stack(pictures), torch.tensor(labels)


def _keys(indices: Sequence[int], seed: int) -> list[Key]:
    """The sample of an index is the same for all candidates: crops are jittered by the key's seed."""
    return [(index, seed_of(seed, "judged", place)) for place, index in enumerate(indices)]
