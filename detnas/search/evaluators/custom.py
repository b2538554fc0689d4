"""A fitness that users bring: a function of a candidate and its detector."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from detnas.distributed import comm
from detnas.evaluation.evaluate import Evaluation
from detnas.models.detectors.build import Detector
from detnas.search.evaluators.base import Scores
from detnas.search.evaluators.detection import DetectionEvaluator
from detnas.spaces import Architecture, BudgetSampler, Cost
from detnas.utils.errors import UserError
from detnas.utils.import_string import import_object


@dataclass(frozen=True)
class Candidate:
    """What a fitness function of yours is given: an architecture, what it costs, and its detector.

    `cost` is that of the backbone as the budget counts it: MACs, parameters, and microseconds where
    `budget.latencies` names a table. `detector` has the supernet's weights and BN statistics of its own; it is in
    evaluation mode on the run's device, and a copy: whatever is done to it reaches no other candidate. It takes a list
    of images (3, H, W) float RGB in 0-1, and gives torchvision's dictionaries of boxes, scores and labels.
    """

    architecture: Architecture
    cost: Cost
    detector: Detector
    _fitness: DetectionEvaluator = field(repr=False)

    @cached_property
    def evaluation(self) -> Evaluation:
        """How good the detector is on the search split, in 0-1: `scores` by name (mAP, AP50, VOC07, …) and `per_class`,
        COCO's AP by the name of the class; None where the split holds no such boxes. Computed when first asked for; of
        several processes all must ask."""
        return self._fitness.evaluation(self.detector)


FitnessFunction = Callable[[Candidate], float]


class CustomEvaluator:
    """Judges candidates by the function at `place`, `package.module:function`: higher is better.

    Raises `UserError` if it cannot be imported or called.
    """

    def __init__(self, place: str, fitness: DetectionEvaluator, sampler: BudgetSampler) -> None:
        self.place = place
        self.function = import_fitness_function(place)
        self.fitness = fitness
        self.sampler = sampler

    def __call__(self, architecture: Architecture) -> Scores:
        """Its value, by the function's name, and the scores that it asked for."""
        cost = self.sampler.table.cost(architecture.ops)
        detector = self.fitness.candidate(architecture, self.fitness.calibration)
        candidate = Candidate(architecture, cost, detector, self.fitness)
        value = float(self.function(candidate))
        scores = candidate.evaluation.scores if "evaluation" in vars(candidate) else {}
        return scores | {self.place: comm.broadcast_from_main(lambda: value)}


def import_fitness_function(place: str) -> FitnessFunction:
    """The function at `place`. Raises `UserError` if it cannot be imported or called."""
    function: FitnessFunction = import_object(place, "search.fitness")
    if not callable(function):
        raise UserError(f"search.fitness: {place} is no function; name one of a detnas.Candidate that gives a number")
    return function
