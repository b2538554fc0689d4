"""What the pipeline knows of an evaluator before it is built."""

from dataclasses import dataclass
from typing import Any, Literal

from detnas.utils.import_string import import_object


@dataclass(frozen=True)
class EvaluatorSpec:
    """An evaluator as a table names it."""

    implementation: str
    """Where its class is, `package.module:name`, a `detnas.search.evaluators.base.RunEvaluator`. Reading a recipe does
    not import it."""
    task: Literal["detection", "classification"]
    """What the supernet that it scores has learned: the one fine-tuned on detection, or the pre-trained one, in which
    case the run leaves the fine-tuning of the supernet out."""
    score: str
    """The name of the score that is the fitness; `{metric}` and `{fitness}` stand for these fields of the recipe's
    `search`."""
    checks_recalibration: bool = False
    """Whether it can score a candidate with other BN statistics, for `detnas.search.recalibration_check`."""

    def load(self) -> Any:
        """The class, a `RunEvaluator`."""
        return import_object(self.implementation, "search.fitness")
