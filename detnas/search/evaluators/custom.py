"""A custom fitness: a user's function of a candidate and its detector."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

from detnas.distributed import comm
from detnas.evaluation.evaluate import Evaluation
from detnas.models.detectors.build import Detector
from detnas.search.evaluators.base import EvaluatedRun, RunEvaluator, Scores
from detnas.search.evaluators.detection import DetectionEvaluator
from detnas.spaces import Architecture, BudgetSampler, Cost
from detnas.utils.errors import UserError
from detnas.utils.import_string import import_object


@dataclass(frozen=True)
class Candidate:
    """What a custom fitness function is given: an architecture, what it costs, and its detector.

    `cost` is what the budget bounds, of the detector or its backbone: MACs, parameters, and microseconds where
    `budget.latencies` names a table. `detector` has the supernet's weights and BN statistics of its own; it is in
    evaluation mode on the run's device, and a copy: whatever is done to it reaches no other candidate. It takes a list
    of images (3, H, W) float RGB in 0-1, and returns torchvision's dictionaries of boxes, scores and labels.
    """

    architecture: Architecture
    cost: Cost
    detector: Detector
    _evaluator: DetectionEvaluator = field(repr=False)

    @cached_property
    def evaluation(self) -> Evaluation:
        """How good the detector is on the search split, in 0-1: `scores` by name (mAP, AP50, VOC07, …) and `per_class`,
        COCO's AP by the name of the class; None where the split holds no such boxes. Computed when first asked for;
        with several processes, all of them must ask."""
        return self._evaluator.evaluate_candidate(self.detector)


FitnessFunction = Callable[[Candidate], float]


class CustomEvaluator(RunEvaluator):
    """Scores candidates by the function that `fitness` names. Raises `UserError` if it cannot be imported or called."""

    def __init__(self, fitness: str, evaluator: DetectionEvaluator, sampler: BudgetSampler) -> None:
        self.fitness = fitness
        self.function = import_fitness_function(fitness)
        self.evaluator = evaluator
        self.sampler = sampler

    @classmethod
    def check(cls, run: EvaluatedRun) -> None:
        import_fitness_function(run.recipe.search.fitness)
        DetectionEvaluator.check(run)

    @classmethod
    def from_run(cls, run: EvaluatedRun) -> Self:
        return cls(run.recipe.search.fitness, DetectionEvaluator.from_run(run), run.sampler)

    def __call__(self, architecture: Architecture) -> Scores:
        """The function's value, by the name `fitness`, and the scores of detection if the function asked for them."""
        cost = self.sampler.cost(architecture)
        evaluator = self.evaluator.at(architecture.resolution)
        detector = evaluator.extract_candidate(architecture, evaluator.calibration)
        candidate = Candidate(architecture, cost, detector, evaluator)
        value = float(self.function(candidate))
        scores = candidate.evaluation.scores if "evaluation" in vars(candidate) else {}
        return scores | {self.fitness: comm.broadcast_from_main(lambda: value)}


def import_fitness_function(fitness: str) -> FitnessFunction:
    """The function `package.module:function`. Raises `UserError` if it cannot be imported or called."""
    function: FitnessFunction = import_object(fitness, "search.fitness")
    if not callable(function):
        raise UserError(f"search.fitness: {fitness} is no function; name one of a detnas.Candidate that gives a number")
    return function
