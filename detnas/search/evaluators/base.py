"""What an evaluator is: it scores an architecture; and what a run knows of one before it builds it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from detnas.spaces import Architecture
from detnas.utils.import_string import import_object

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


@dataclass(frozen=True)
class EvaluatorSpec:
    """An evaluator as a table names it."""

    implementation: str
    """The import string of its class, a `RunEvaluator`. Reading a recipe does not import it."""
    task: Literal["detection", "classification"]
    """What the supernet that it scores has learned: the one fine-tuned on detection, or the pre-trained one, in which
    case the run leaves the fine-tuning of the supernet out."""
    score: str
    """The name of the score that is the fitness; `{metric}` and `{fitness}` stand for these fields of `search`."""
    checks_recalibration: bool = False
    """Whether it can score a candidate with other BN statistics, for `detnas.search.recalibration_check`."""

    def load(self) -> Any:
        """The class, a `RunEvaluator`."""
        return import_object(self.implementation, "search.fitness")
