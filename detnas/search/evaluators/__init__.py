"""How good a candidate is: the evaluators of the search. The table itself imports no torch; an evaluator may."""

from detnas.config.search import CUSTOM
from detnas.search.evaluators.base import EvaluatorSpec

EVALUATORS: dict[str, EvaluatorSpec] = {
    "detection": EvaluatorSpec(
        "detnas.search.evaluators.detection:DetectionEvaluator", "detection", "{metric}", checks_recalibration=True
    ),
    "classification": EvaluatorSpec(
        "detnas.search.evaluators.classification:ClassificationEvaluator", "classification", "accuracy"
    ),
    CUSTOM: EvaluatorSpec("detnas.search.evaluators.custom:CustomEvaluator", "detection", "{fitness}"),
}
"""The choices of the recipe's `search.fitness`."""
