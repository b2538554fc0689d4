"""A candidate's fitness by classification: its accuracy on the search split (the paper's ClsNAS)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from detnas.config import SearchSettings
from detnas.data.classification import ClassificationSet
from detnas.data.samples import Key
from detnas.distributed import comm
from detnas.models.classifier import Classifier
from detnas.models.preprocessing import normalize
from detnas.models.supernet import extract_subnet
from detnas.search.evaluators.base import EvaluatedRun, RunEvaluator, Scores
from detnas.search.evaluators.recalibration import evaluation_indices, recalibrate, recalibration_indices
from detnas.spaces import Architecture
from detnas.utils.seeds import derive_seed


class ClassificationEvaluator(RunEvaluator):
    """Scores candidates of a pre-trained supernet classifier, each on a copy: no call changes the next one's scores.

    `fit` and `search` are samples without augmentation, images (3, S, S) uint8 with a class; `inputs` turns a batch of
    images (N, 3, S, S) uint8 into what the classifier takes. The samples for recalibration are drawn from `fit` by
    `seed` once, so that all candidates see the same. Prepared samples are kept, at most `cache_mb` megabytes a part.
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
        calibration = recalibration_indices(len(fit), settings, seed)
        self.calibration = Batches(fit, _keys(calibration, seed), settings.recalibration_batch_size, cache_mb)
        evaluated = _keys(evaluation_indices(len(search), settings, seed), seed)
        self.size = len(evaluated)
        mine = [evaluated[index] for index in comm.shard_indices(self.size, settings.batch_size)]
        self.evaluated = Batches(search, mine, settings.batch_size, cache_mb)

    @classmethod
    def from_run(cls, run: EvaluatedRun) -> Self:
        data = ClassificationSet(run.recipe, run.data)
        fit, search = (data.samples(part, None, 0, run.disk_cache) for part in ("fit", "search"))

        def inputs(images: Tensor) -> Tensor:
            return normalize(images.to(run.device, non_blocking=True).float() / 255, run.recipe.detector)

        classifier, settings, cache_mb = run.supernet_classifier(), run.recipe.search, run.recipe.data.cache_mb
        return cls(classifier, fit, search, inputs, settings, seed=run.seed("search"), cache_mb=cache_mb)

    def __call__(self, architecture: Architecture) -> Scores:
        """The recalibrated candidate's top-1 `accuracy` on the search split, in 0-1."""
        candidate = extract_subnet(self.classifier, architecture)
        recalibrate(candidate, (self.inputs(images) for images, _ in self.calibration))
        correct = 0
        for images, labels in self.evaluated:
            with torch.inference_mode():
                predicted = candidate(self.inputs(images)).argmax(dim=1).cpu()
            correct += int((predicted == labels).sum())
        return {"accuracy": comm.all_reduce_int(correct) / self.size}


@dataclass
class Batches:
    """Iterates over batches of samples, images (N, 3, S, S) uint8 and classes (N,), any number of times.

    They are prepared once and kept if all take at most `cache_mb` megabytes, else prepared again each time.
    """

    samples: Any
    keys: Sequence[Key]
    batch_size: int
    cache_mb: int

    def __post_init__(self) -> None:
        megabytes = len(self.keys) * self.samples[self.keys[0]][0].numel() / 1e6 if self.keys else 0
        self.kept = list(self._prepared()) if megabytes <= self.cache_mb else None

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self._prepared() if self.kept is None else iter(self.kept)

    def _prepared(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self.keys), self.batch_size):
            keys = self.keys[start : start + self.batch_size]
            images, labels = zip(*(self.samples[key] for key in keys), strict=True)
            yield torch.stack(images), torch.tensor(labels)


def _keys(indices: Sequence[int], seed: int) -> list[Key]:
    """The sample of an index is the same for all candidates: crops are jittered by the key's seed."""
    return [(index, derive_seed(seed, "judged", place)) for place, index in enumerate(indices)]
