"""Who evaluates what: each slot of the search is evaluated once, by whichever worker is free.

A slot is taken in two steps. A waiting trial that carries its number is added to the study; whoever then makes it
running, which the storage lets one worker do only, evaluates it. Where two workers added one for the same slot at the
same time, the earlier is the slot's and the other waits for nothing. A trial that ended without a value, its process
gone or its candidate failed, leaves the slot to another, until the slot is given up.
"""

from collections.abc import Iterable, Sequence

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from detnas.search.samplers.base import Proposal
from detnas.search.study.trials import ORIGIN, SLOT, distributions, index_of, parameters
from detnas.spaces import SearchSpace

ERROR = "error"
"""Of a trial whose candidate failed: by what."""
GIVEN_BACK = "given back"
"""Of a trial whose worker was told to stop."""
ATTEMPTS = 3
"""Failures of a candidate after which it is given up."""
DEATHS = 10
"""Workers that died while they evaluated a candidate after which it is given up: they may have died of it."""


def open_indices(trials: Sequence[FrozenTrial], evaluations: int, population: int) -> list[int]:
    """The slots that may be taken now: those that are free, of the first generation that is not complete.

    Slots with a trial that nobody works on yet are there only if no other is: the worker that added it may be gone, or
    just about to begin.
    """
    held, finished = trials_by_index(trials), finished_indices(trials)
    complete = next((slot for slot in range(evaluations) if slot not in finished), evaluations)
    in_turn = range(complete, min(evaluations, (complete // population + 1) * population))
    left = [slot for slot in in_turn if slot not in finished]
    free = [slot for slot in left if slot not in held]
    return free or [slot for slot in left if held[slot].state == TrialState.WAITING]


def trials_by_index(trials: Iterable[FrozenTrial]) -> dict[int, FrozenTrial]:
    """The trial of each slot that has one: the earliest which did not fail."""
    held: dict[int, FrozenTrial] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        if trial.state != TrialState.FAIL:
            held.setdefault(index_of(trial), trial)
    return held


def is_double(trial: FrozenTrial, trials: Iterable[FrozenTrial]) -> bool:
    """Whether an earlier trial holds another slot with the same architecture: two workers proposed it at the same
    moment. Only TPE's proposals depend on what others do meanwhile."""
    return any(
        other.params == trial.params for other in trials_by_index(trials).values() if other.number < trial.number
    )


def finished_indices(trials: Sequence[FrozenTrial]) -> set[int]:
    """The slots that need no worker any more."""
    return {slot for slot, trial in trials_by_index(trials).items() if trial.state.is_finished()} | failed_for_good(
        trials
    ).keys()


def failed_for_good(trials: Iterable[FrozenTrial]) -> dict[int, FrozenTrial]:
    """The last trial of each slot whose candidate failed for good."""
    errors: dict[int, list[FrozenTrial]] = {}
    deaths: dict[int, list[FrozenTrial]] = {}
    for trial in trials:
        if trial.state == TrialState.FAIL and GIVEN_BACK not in trial.user_attrs:
            (errors if ERROR in trial.user_attrs else deaths).setdefault(index_of(trial), []).append(trial)
    too_often = {slot: failed[DEATHS - 1] for slot, failed in deaths.items() if len(failed) >= DEATHS}
    return too_often | {slot: failed[ATTEMPTS - 1] for slot, failed in errors.items() if len(failed) >= ATTEMPTS}


def enqueue(study: optuna.Study, slot: int, proposal: Proposal, space: SearchSpace) -> int:
    """Let the next worker that is free evaluate `proposal`; the id of the trial that was added."""
    trial = optuna.create_trial(
        state=TrialState.WAITING,
        params=parameters(proposal.architecture, space),
        distributions=distributions(space),
        user_attrs={SLOT: slot, ORIGIN: proposal.origin},
    )
    return study._storage.create_new_trial(study._study_id, trial)


def take(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Make a waiting trial this worker's; False if another was quicker."""
    # First a heartbeat: of a running trial that has none, nobody could tell that its worker is gone.
    study._storage.record_heartbeat(trial._trial_id)  # type: ignore[attr-defined]
    try:
        return study._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
    except UpdateFinishedTrialError:
        return False


def fail(study: optuna.Study, trial: FrozenTrial, error: Exception | None = None) -> None:
    """Leave the slot of a trial that this worker runs to another: the candidate failed, or the worker is to stop."""
    mark = (ERROR, f"{type(error).__name__}: {error}".splitlines()[0]) if error else (GIVEN_BACK, "")
    try:
        study._storage.set_trial_user_attr(trial._trial_id, *mark)
        study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    except UpdateFinishedTrialError:
        pass  # the worker was taken for dead
