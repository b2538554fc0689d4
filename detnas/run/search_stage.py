"""The search stage of a run: the search itself, and how far its best candidates depend on their recalibration."""

import hashlib
import json

from detnas.distributed import comm
from detnas.run.context import Run
from detnas.run.evaluator import build_evaluator
from detnas.rundir.layout import BEST, RECALIBRATION, SEARCH
from detnas.search.evaluators.base import Evaluator
from detnas.search.evaluators.detection import DetectionEvaluator
from detnas.search.evaluators.distributed import search_with_all_processes
from detnas.search.recalibration_check import check_recalibration
from detnas.search.study.study import search
from detnas.training.checkpoints import is_trained, weights_digest
from detnas.utils.resource_errors import explain_out_of_memory


def search_stage(run: Run) -> None:
    """Search with the weights of the trained supernet, unless that is done; then check the recalibration."""
    settings = run.recipe.search
    is_searched = run.is_done(SEARCH)
    if not is_searched or _can_check_recalibration(run):
        with explain_out_of_memory(
            f"search.batch_size = {settings.batch_size}, "
            f"search.recalibration_batch_size = {settings.recalibration_batch_size}"
        ):
            evaluator = build_evaluator(run)
            if not is_searched:
                _search(run, evaluator)
            if settings.evaluator.checks_recalibration:
                assert isinstance(evaluator, DetectionEvaluator)
                check_recalibration(evaluator, run.directory / SEARCH, run.progress)
    best = run.read(BEST, SEARCH)
    run.progress.log(f"  winner: {best.architecture}, {settings.score_name} {best.fitness:.3f} on the search split")


def _search(run: Run, evaluator: Evaluator) -> None:
    folder, seed, name = run.directory / SEARCH, run.seed("search"), _study_name(run)
    search_with_all_processes(
        evaluator,
        lambda one: search(one, run.sampler, run.recipe.search, folder, seed=seed, progress=run.progress, name=name),
    )


def _can_check_recalibration(run: Run) -> bool:
    """Whether a finished search was interrupted before the check, and the supernet's weights are still there."""
    is_missing = not comm.broadcast_from_main(lambda: RECALIBRATION.exists(run.directory / SEARCH))
    can_check = run.recipe.search.evaluator.checks_recalibration
    return is_missing and can_check and is_trained(run.directory / run.trained_supernet)


def _study_name(run: Run) -> str:
    """The name of the study in a storage that other runs use too: the same for all copies of this run only."""
    if run.recipe.search.storage is None:
        return "search"
    recipe = run.recipe.model_dump(mode="json")
    # These may differ from machine to machine.
    del recipe["device"], recipe["search"]["storage"], recipe["budget"]["latencies"]
    facts = [recipe, run.data.fingerprint(), weights_digest(run.directory / run.trained_supernet)]
    return f"{run.recipe.name}-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}"
