"""Who evaluates what: each evaluation of the search is made once, by whichever worker is free.

A worker claims an evaluation in two steps. It adds a waiting trial with the evaluation's index to the study; whoever
then makes it running, which the storage lets one worker do only, evaluates it. Where two workers added a trial for the
same index at the same time, the earlier counts. A trial that ended without a value, because its process is gone or its
candidate failed, leaves the evaluation to another worker, until the candidate is given up.
"""

from collections.abc import Iterable, Sequence

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from detnas.search.parameters import distributions, parameters_of
from detnas.search.samplers.base import Proposal
from detnas.search.study.optuna_internals import add_trial, record_heartbeat, set_trial_attribute, set_trial_state
from detnas.search.study.trials import INDEX, ORIGIN, index_of
from detnas.spaces import SearchSpace

ERROR = "error"
"""The attribute of a trial whose candidate failed: by what."""
GIVEN_BACK = "given back"
"""The attribute of a trial whose worker was told to stop."""
ATTEMPTS = 3
"""Failures of a candidate after which it is given up."""
DEATHS = 10
"""Workers that died while they evaluated a candidate after which it is given up: they may have died of it."""


def open_indices(trials: Sequence[FrozenTrial], evaluations: int, generation_size: int) -> list[int]:
    """The evaluations that may be claimed now: the free ones of the first generation that is not complete.

    Those with a waiting trial are among them only if no other is free: the worker that added it may be gone, or just
    about to begin.
    """
    held, finished = trials_by_index(trials), finished_indices(trials)
    complete = next((index for index in range(evaluations) if index not in finished), evaluations)
    in_turn = range(complete, min(evaluations, (complete // generation_size + 1) * generation_size))
    left = [index for index in in_turn if index not in finished]
    free = [index for index in left if index not in held]
    return free or [index for index in left if held[index].state == TrialState.WAITING]


def trials_by_index(trials: Iterable[FrozenTrial]) -> dict[int, FrozenTrial]:
    """The trial of each evaluation that has one: the earliest which did not fail."""
    latest_first = sorted(trials, key=lambda trial: trial.number, reverse=True)
    return {index_of(trial): trial for trial in latest_first if trial.state != TrialState.FAIL}


def is_duplicate(trial: FrozenTrial, trials: Iterable[FrozenTrial]) -> bool:
    """Whether an earlier trial of another evaluation has the same architecture: two workers proposed it at the same
    moment. Only proposals of TPE depend on what other workers do meanwhile."""
    earlier = (other for other in trials_by_index(trials).values() if other.number < trial.number)
    return any(other.params == trial.params for other in earlier)


def finished_indices(trials: Sequence[FrozenTrial]) -> set[int]:
    """The evaluations that need no worker any more."""
    done = {index for index, trial in trials_by_index(trials).items() if trial.state.is_finished()}
    return done | failed_for_good(trials).keys()


def failed_for_good(trials: Iterable[FrozenTrial]) -> dict[int, FrozenTrial]:
    """The last trial of each evaluation whose candidate is given up."""
    errors: dict[int, list[FrozenTrial]] = {}
    deaths: dict[int, list[FrozenTrial]] = {}
    for trial in trials:
        if trial.state == TrialState.FAIL and GIVEN_BACK not in trial.user_attrs:
            (errors if ERROR in trial.user_attrs else deaths).setdefault(index_of(trial), []).append(trial)
    too_often = {index: failed[DEATHS - 1] for index, failed in deaths.items() if len(failed) >= DEATHS}
    return too_often | {index: failed[ATTEMPTS - 1] for index, failed in errors.items() if len(failed) >= ATTEMPTS}


def reason_of(trial: FrozenTrial) -> str:
    """Why the candidate of a trial that `failed_for_good` returns was given up."""
    return str(trial.user_attrs.get(ERROR, "the death of each process that evaluated it"))


def enqueue(study: optuna.Study, index: int, proposal: Proposal, space: SearchSpace) -> int:
    """Let the next free worker evaluate `proposal` as evaluation `index`; returns the id of the trial added."""
    trial = optuna.create_trial(
        state=TrialState.WAITING,
        params=parameters_of(proposal.architecture, space),
        distributions=distributions(space),
        user_attrs={INDEX: index, ORIGIN: proposal.origin},
    )
    return add_trial(study, trial)


def claim(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Make a waiting trial this worker's; False if another worker has made it its own."""
    # First a heartbeat: of a running trial that has none, nobody could tell that its worker is gone.
    record_heartbeat(study, trial)
    try:
        return set_trial_state(study, trial, TrialState.RUNNING)
    except UpdateFinishedTrialError:
        return False


def fail(study: optuna.Study, trial: FrozenTrial, error: Exception | None = None) -> None:
    """Leave the evaluation of a trial of this worker to another: the candidate failed, or the worker is to stop."""
    mark = (ERROR, f"{type(error).__name__}: {error}".splitlines()[0]) if error else (GIVEN_BACK, "")
    try:
        set_trial_attribute(study, trial, *mark)
        set_trial_state(study, trial, TrialState.FAIL)
    except UpdateFinishedTrialError:
        pass  # the worker was taken for dead
