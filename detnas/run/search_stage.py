"""The search stage of a run: the search itself, and how far its best candidates depend on their recalibration."""

import hashlib
import json

from detnas.distributed import comm
from detnas.run.context import Run
from detnas.run.evaluator import build_evaluator
from detnas.rundir.layout import BEST, RECALIBRATION, SEARCH, STUDY
from detnas.search.evaluators.base import Evaluator
from detnas.search.evaluators.detection import DetectionEvaluator
from detnas.search.evaluators.distributed import search_with_all_processes
from detnas.search.recalibration_check import check_recalibration
from detnas.search.study.optuna_internals import count_trials
from detnas.search.study.study import is_complete, search
from detnas.spaces import Architecture
from detnas.spaces.incumbents import find_incumbents
from detnas.training.checkpoints import training_state, weights_digest
from detnas.utils.resource_errors import explain_out_of_memory


def search_stage(run: Run) -> None:
    """Search with the weights of the trained supernet, unless that is done; then check the recalibration."""
    settings = run.recipe.search
    is_searched = _is_searched(run)
    if not is_searched or _can_check_recalibration(run):
        with explain_out_of_memory(
            f"search.batch_size = {settings.batch_size}, "
            f"search.recalibration_batch_size = {settings.recalibration_batch_size}"
        ):
            # A study that is complete needs no weights, which may have been deleted.
            is_lazy = is_evaluated(run) and not _has_weights(run)
            evaluator = (lambda architecture: build_evaluator(run)(architecture)) if is_lazy else build_evaluator(run)
            if not is_searched:
                _search(run, evaluator)
            if isinstance(evaluator, DetectionEvaluator) and settings.evaluator.checks_recalibration:
                check_recalibration(evaluator, run.directory / SEARCH, run.progress)
    best = run.read(BEST, SEARCH)
    what = "fittest" if run.recipe.finals else "winner"
    run.progress.log(f"  {what}: {best.architecture}, {settings.score_name} {best.fitness:.3f} on the search split")


def is_evaluated(run: Run) -> bool:
    """Whether all candidates of the search are evaluated, so that nobody needs the weights of the supernet for that."""
    folder, settings = run.directory / SEARCH, run.recipe.search
    return _is_searched(run) or comm.broadcast_from_main(
        lambda: settings.storage is None and (count_trials(folder / STUDY) or (0, 0))[0] >= settings.evaluations
    )


def _is_searched(run: Run) -> bool:
    return comm.broadcast_from_main(lambda: is_complete(run.directory / SEARCH, run.recipe.search, run.space))


def _has_weights(run: Run) -> bool:
    return training_state(run.directory / run.trained_supernet) == "intact"


def _search(run: Run, evaluator: Evaluator) -> None:
    folder, seed, name = run.directory / SEARCH, run.seed("search"), _study_name(run)
    search_with_all_processes(
        evaluator,
        lambda one: search(
            one,
            run.sampler,
            run.recipe.search,
            folder,
            seed=seed,
            progress=run.progress,
            name=name,
            incumbents=_incumbents(run),
        ),
    )


def _incumbents(run: Run) -> list[Architecture]:
    """What opens the search if there are finals: at most half of a generation."""
    if not run.recipe.finals:
        return []
    return find_incumbents(run.sampler, run.recipe.baselines, run.recipe.search.population // 2)


def _can_check_recalibration(run: Run) -> bool:
    """Whether a finished search was interrupted before the check, and the supernet's weights are still there."""
    is_missing = comm.broadcast_from_main(lambda: RECALIBRATION.find_intact(run.directory / SEARCH) is None)
    return is_missing and run.recipe.search.evaluator.checks_recalibration and _has_weights(run)


def _study_name(run: Run) -> str:
    """The name of the study in a storage that other runs use too: the same for all copies of this run only."""
    if run.recipe.search.storage is None:
        return "search"
    recipe = run.recipe.model_dump(mode="json")
    # These may differ from machine to machine.
    del recipe["device"], recipe["search"]["storage"], recipe["budget"]["latencies"]
    facts = [recipe, run.data.fingerprint(), weights_digest(run.directory / run.trained_supernet)]
    return f"{run.recipe.name}-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}"
