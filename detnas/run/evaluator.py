"""The evaluator of a run: what scores its candidates, with the weights of its trained supernet."""

from functools import partial

from detnas.models.supernet import Supernet
from detnas.run.context import Run
from detnas.search.evaluators.base import Evaluator
from detnas.search.evaluators.classification import ClassificationEvaluator
from detnas.search.evaluators.custom import CustomEvaluator
from detnas.search.evaluators.detection import DetectionEvaluator
from detnas.training.checkpoints import load_weights
from detnas.utils.errors import UserError


def build_evaluator(run: Run) -> Evaluator:
    """The evaluator that `search.fitness` names. Raises `UserError` if the supernet is not trained yet."""
    if not run.is_done(run.trained_supernet):
        raise UserError(f"{run.directory}: the supernet is not trained yet; continue it by `detnas run`")
    fitness = run.recipe.search.fitness
    if run.recipe.search.by_classification:
        return _classification_evaluator(run)
    evaluator = _detection_evaluator(run)
    return CustomEvaluator(fitness, evaluator, run.sampler) if run.recipe.search.has_custom_fitness else evaluator


def _detection_evaluator(run: Run) -> DetectionEvaluator:
    """Of the fine-tuned supernet."""
    detector = run.detector(lambda: Supernet(run.space), None, run.recipe.search_detector)
    load_weights(detector, run.directory / run.trained_supernet)
    return DetectionEvaluator(
        detector.to(run.device),
        run.data.fit,
        run.data.search,
        run.recipe.search,
        seed=run.seed("search"),
        device=run.device,
        cache_mb=run.recipe.data.cache_mb,
        disk=run.disk_cache,
    )


def _classification_evaluator(run: Run) -> ClassificationEvaluator:
    """Of the pre-trained supernet."""
    fit, num_classes = run.classification(None, "fit")
    held_out, _ = run.classification(None, "search")
    classifier = run.classifier(lambda: Supernet(run.space), num_classes)
    load_weights(classifier, run.directory / run.trained_supernet)
    return ClassificationEvaluator(
        classifier.to(run.device),
        fit.samples,
        held_out.samples,
        partial(fit.inputs, device=run.device),
        run.recipe.search,
        seed=run.seed("search"),
        cache_mb=run.recipe.data.cache_mb,
    )
