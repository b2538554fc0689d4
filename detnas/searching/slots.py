"""Who evaluates what: each slot of the search is evaluated once, by whichever process is free.

A slot is taken by enqueuing a trial that carries its number: Optuna creates it in one transaction and hands it out to
one process only. Where two processes enqueued the same slot at the same time, the earlier trial is the one that counts.
A trial that ended without a value, its process gone or its candidate failed, leaves its slot free.
"""

from collections.abc import Iterable, Sequence

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from detnas.searching.evolution import Proposal
from detnas.searching.trials import ORIGIN, SLOT, distributions, parameters, slot_of
from detnas.spaces import SearchSpace


def next_slot(trials: Sequence[FrozenTrial], evaluations: int, population: int) -> int | None:
    """The first slot that is free and whose generation may begin: the one before it must be complete.

    None if there is none now. A slot that was enqueued and that nobody works on yet comes after those that are free
    altogether: the process that enqueued it may be gone.
    """
    held = _held(trials)
    finished = {slot for slot, trial in held.items() if trial.state.is_finished()}
    complete = next((slot for slot in range(evaluations) if slot not in finished), evaluations)
    open_slots = range(complete, min(evaluations, (complete // population + 1) * population))
    free = [slot for slot in open_slots if slot not in held]
    waiting = [slot for slot in open_slots if slot in held and held[slot].state == TrialState.WAITING]
    return next(iter(free + waiting), None)


def is_surplus(trial: Trial, trials: Iterable[FrozenTrial]) -> bool:
    """Whether an earlier trial holds the same slot."""
    return _held(trials)[slot_of(trial)].number < trial.number


def enqueue(study: optuna.Study, slot: int, proposal: Proposal, space: SearchSpace) -> None:
    """Let the next process that asks evaluate `proposal`."""
    trial = optuna.create_trial(
        state=TrialState.WAITING,
        params=parameters(proposal.architecture),
        distributions=distributions(space),
        user_attrs={SLOT: slot, ORIGIN: proposal.origin},
    )
    study.add_trial(trial)


def _held(trials: Iterable[FrozenTrial]) -> dict[int, FrozenTrial]:
    """The earliest trial of each slot that has one which did not fail."""
    held: dict[int, FrozenTrial] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        if trial.state != TrialState.FAIL:
            held.setdefault(slot_of(trial), trial)
    return held
