"""The search: an Optuna study, filled candidate by candidate by any number of workers, and what it leaves behind."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from detnas.config import SearchSettings
from detnas.evaluation.metrics.pareto import pareto_front
from detnas.rundir import layout
from detnas.rundir.directory import file_digests
from detnas.search.evaluators.base import Evaluator
from detnas.search.parameters import architecture_from
from detnas.search.samplers import SAMPLERS
from detnas.search.samplers.base import Sampler
from detnas.search.study.claims import failed_for_good, reason_of
from detnas.search.study.storage import explain_damage, open_study
from detnas.search.study.trials import ORIGIN, SCORES, fitness_of, index_of, seconds_of
from detnas.search.study.worker import Worker
from detnas.spaces import Architecture, BudgetSampler, SearchSpace
from detnas.utils.errors import UserError
from detnas.utils.files import acquire_lock, make_folder, open_lock_file
from detnas.utils.progress import Progress

SHOWN_EVERY = 50
"""Candidates after which candidates.jsonl is written at the latest: a random search is one long generation."""


def search(
    evaluator: Evaluator,
    budget_sampler: BudgetSampler,
    settings: SearchSettings,
    directory: Path,
    *,
    seed: int,
    progress: Progress,
    name: str = "search",
    incumbents: Sequence[Architecture] = (),
) -> Architecture:
    """Evaluate `settings.evaluations` candidates, or all within the budget, `incumbents` first, and return the best.

    `evaluator` returns a candidate's scores by name; the one named `settings.score_name` is its fitness. Several
    processes may do so at the same time: one of them evaluates each candidate, and all leave the same files.

    Leaves `candidates.jsonl`, `best.json` and `done.json` in `directory`, `front.json` if there are two objectives,
    `failed.jsonl` if candidates failed, and `study.db` unless the settings name a storage. Continues the study that it
    finds there, or the one of this `name` in a shared storage.

    Raises `UserError` if the storage does not answer, or all candidates of the first generation failed.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    make_folder(directory)
    sampler = SAMPLERS[settings.sampler](budget_sampler, settings, seed, incumbents)
    if settings.storage:
        progress.log(f"  study {name} at {settings.storage}")
    kept = f"study {name} in that storage" if settings.storage else str(directory)
    directions = [StudyDirection.MAXIMIZE, *([StudyDirection.MINIMIZE] if settings.second_objective else [])]
    with open_study(directory, settings.storage, name, directions, progress.log) as study:
        if not settings.storage:
            with explain_damage(directory / layout.STUDY):
                _candidates(study.get_trials(deepcopy=False), sampler)
        worker = Worker(study, sampler, evaluator, progress.log)
        shown = start = len(_finished(study.get_trials(deepcopy=False)))
        with progress.task("search", total=settings.evaluations, start=start) as bar:
            for trials in worker.work():
                finished = _finished(trials)
                if not finished:
                    _refuse_if_none_works(trials, min(worker.evaluations, settings.population), kept)
                if len(finished) > bar.done:
                    best = max(map(fitness_of, finished))
                    bar.advance(f"best {best:.3f}", len(finished) - bar.done)
                if len(finished) - shown >= min(settings.population, SHOWN_EVERY):
                    shown = len(finished)
                    _write(directory, study, sampler, progress.log)
        if worker.evaluations < settings.evaluations:
            progress.log(f"  search: all {len(finished)} architectures within the budget have been evaluated")
        rows = _write(directory, study, sampler, progress.log)
        cost = settings.second_objective or "macs"
        merits = sampler.merits([Architecture.parse(row.architecture) for row in rows], [row.fitness for row in rows])
        winner = max(zip(merits, rows, strict=True), key=lambda of: (of[0], -of[1].cost(cost), -of[1].number))[1]
        if settings.second_objective:
            front = pareto_front([row.cost(cost) for row in rows], [row.fitness for row in rows])
            layout.FRONT.write(directory, [rows[place] for place in front])
        layout.BEST.write(directory, winner)
        seconds, files = sum(row.seconds for row in rows), _digests(directory)
        layout.SEARCH_DONE.write(directory, layout.SearchDone(seconds=seconds, evaluations=len(rows), files=files))
    return Architecture.parse(winner.architecture)


def is_complete(directory: Path, settings: SearchSettings, space: SearchSpace) -> bool:
    """Whether the search in `directory` is done, and all that it leaves is there as it was written."""
    done, best = layout.SEARCH_DONE.find_intact(directory), layout.BEST.find_intact(directory)
    rows = layout.CANDIDATES.find_intact(directory) or []
    if done is None or best not in rows or (done.files and done.files != _digests(directory)):
        return False
    if settings.second_objective and layout.FRONT.find_intact(directory) is None:
        return False
    try:
        space.check(Architecture.parse(best.architecture))
    except UserError:
        return False
    return True


def _digests(directory: Path) -> dict[str, str]:
    files = (layout.CANDIDATES, layout.FAILED, layout.FRONT, layout.BEST)
    return file_digests(*(file.path(directory) for file in files))


def _candidates(trials: Iterable[FrozenTrial], sampler: Sampler) -> list[layout.Candidate]:
    """The finished candidates, by evaluation index."""
    rows = []
    for trial in sorted(_finished(trials), key=index_of):
        facts = {
            **_identity(trial, sampler),
            **sampler.budget_sampler.cost(architecture_from(trial.params, sampler.space)).facts(),
            "fitness": fitness_of(trial),
            "metric": sampler.settings.score_name,
            "AP50": trial.user_attrs.get(SCORES, {}).get("AP50"),
            "seconds": seconds_of(trial),
        }
        rows.append(layout.Candidate.model_validate(facts))
    return rows


def _write(
    directory: Path, study: optuna.Study, sampler: Sampler, log: Callable[[str], None]
) -> list[layout.Candidate]:
    """Write candidates.jsonl and failed.jsonl as the study stands, and return the rows of the first."""
    with open_lock_file(directory / layout.WRITING_LOCK) as held:
        acquire_lock(held, log)
        trials = study.get_trials(deepcopy=False)
        rows = _candidates(trials, sampler)
        layout.CANDIDATES.write(directory, rows)
        failed = sorted(failed_for_good(trials).items())
        if failed:
            lost = [layout.FailedCandidate(**_identity(trial, sampler), error=reason_of(trial)) for _, trial in failed]
            layout.FAILED.write(directory, lost)
    return rows


def _identity(trial: FrozenTrial, sampler: Sampler) -> dict[str, Any]:
    """The fields of `Proposed`."""
    return {
        "number": index_of(trial),
        "generation": index_of(trial) // sampler.generation_size,
        "origin": trial.user_attrs.get(ORIGIN, "unknown"),
        "architecture": str(architecture_from(trial.params, sampler.space)),
    }


def _refuse_if_none_works(trials: Iterable[FrozenTrial], first: int, kept: str) -> None:
    """Raise `UserError` if all `first` candidates of the first generation failed; `kept` names what holds the study."""
    failed = failed_for_good(trials)
    if failed and failed.keys() >= set(range(first)):
        reason = reason_of(failed[first - 1])
        raise UserError(
            f"search: all {first} candidates of the first generation failed, the last by {reason}; fix that, "
            f"delete {kept}, and the same command begins the search again"
        )


def _finished(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in trials if trial.state == TrialState.COMPLETE]
