"""The evaluator of a run: what scores its candidates, with the weights of its trained supernet."""

from detnas.run.context import Run
from detnas.search.evaluators.base import RunEvaluator
from detnas.utils.errors import UserError


def build_evaluator(run: Run) -> RunEvaluator:
    """The evaluator that the recipe's `search.fitness` names. Raises `UserError` if the supernet is not trained yet."""
    if not run.is_done(run.trained_supernet):
        raise UserError(
            f"{run.directory / run.trained_supernet}: the supernet is not trained yet; continue it by `detnas run`"
        )
    evaluator: RunEvaluator = run.recipe.search.evaluator.load().from_run(run)
    return evaluator
