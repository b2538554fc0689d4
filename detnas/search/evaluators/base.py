"""What an evaluator is: it scores an architecture."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, Self

from detnas.spaces import Architecture

if TYPE_CHECKING:
    import torch

    from detnas.config import Recipe
    from detnas.data.disk_cache import DiskCache
    from detnas.data.splits import RunData
    from detnas.models.classifier import Classifier
    from detnas.models.detectors.build import Detector
    from detnas.spaces import BudgetSampler

Scores = Mapping[str, float | None]
"""Scores of a candidate by name, higher is better; None where the search split holds nothing to score."""


class Evaluator(Protocol):
    """Scores an architecture with the weights of a trained supernet.

    The scores are the same whenever and wherever they are asked for: evaluating a candidate never changes the supernet
    or another candidate's scores. Where several processes run together, all of them call it with the same architecture,
    each computes its part, and each returns all scores.
    """

    def __call__(self, architecture: Architecture) -> Scores: ...


class EvaluatedRun(Protocol):
    """What an evaluator may take from the run that it is built for; the weights only once the supernet is trained."""

    @property
    def recipe(self) -> "Recipe": ...
    @property
    def data(self) -> "RunData": ...
    @property
    def sampler(self) -> "BudgetSampler": ...
    @property
    def device(self) -> "torch.device": ...
    @property
    def disk_cache(self) -> "DiskCache | None": ...

    def seed(self, *what: str) -> int:
        """The seed of something random, derived from the recipe's."""

    def supernet_detector(self) -> "Detector":
        """The supernet in the detector as it was fine-tuned, on the run's device."""

    def supernet_classifier(self) -> "Classifier":
        """The supernet in the classifier as it was pre-trained, on the run's device."""


class RunEvaluator(Evaluator, Protocol):
    """An evaluator that a recipe can name: a class that a run builds it from."""

    @classmethod
    def check(cls, run: EvaluatedRun) -> None:
        """Raise `UserError` for what would fail only once the supernet is trained."""

    @classmethod
    def from_run(cls, run: EvaluatedRun) -> Self:
        """The evaluator of a run whose supernet is trained."""
