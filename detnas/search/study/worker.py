"""A worker of the search: evaluates one free slot of the study after another, beside any number of other workers.

Each makes the proposals itself: they are the same whoever makes them. So workers need nothing of each other but the
study, and may come, go and be killed.
"""

import math
import random
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import optuna
import torch
from optuna.exceptions import ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from detnas.config import SearchSettings
from detnas.distributed import comm
from detnas.distributed.comm import ProcessLostError
from detnas.search.evaluators.base import Evaluator
from detnas.search.samplers.base import Sampler, SpaceExhausted
from detnas.search.study.slots import (
    ERROR,
    enqueue,
    fail,
    failed_for_good,
    finished_indices,
    is_double,
    open_indices,
    take,
    trials_by_index,
)
from detnas.search.study.trials import architecture_of, index_of
from detnas.utils.errors import UserError
from detnas.utils.resource_errors import is_resource_error

SCORES = "scores"
OF_THE_PROCESS = (UserError, ProcessLostError)
"""Errors that are not the candidate's."""
LOOKS = (0.05, 1.0)
"""Seconds between two looks at what others are doing: the eighth part of what was waited by then, within these."""
SAYS_AFTER = 10.0
"""Seconds of waiting for others after which that is said."""


class Worker:
    """Evaluates candidates with `evaluator`, whose score named `settings.score_name` is their fitness."""

    def __init__(
        self,
        study: optuna.Study,
        sampler: Sampler,
        evaluator: Evaluator,
        settings: SearchSettings,
        log: Callable[[str], None],
    ) -> None:
        self.study = study
        self.sampler = sampler
        self.evaluator = evaluator
        self.settings = settings
        self.log = log
        self.evaluations = settings.evaluations
        """How many slots there are; fewer than the settings say once the space is known to hold no more."""

    def work(self) -> Iterator[Sequence[FrozenTrial]]:
        """Evaluate until nothing is left to do for any worker; gives the study's trials again and again meanwhile."""
        waited, lost = 0.0, False
        while True:
            trials = self.study.get_trials(deepcopy=False)
            yield trials
            slots = open_indices(trials, self.evaluations, self.settings.generation_size)
            if slots:
                # Workers that want the same slot part here.
                lost = not self._evaluate(random.choice(slots) if lost else slots[0], trials)
                waited = 0.0
            elif finished_indices(trials).issuperset(range(self.evaluations)):
                return
            else:
                waited += self._wait(trials, waited)

    def _evaluate(self, slot: int, trials: Sequence[FrozenTrial]) -> bool:
        """Evaluate a slot's candidate, if there is one; False if another worker was quicker."""
        trial = trials_by_index(trials).get(slot)
        if trial is None:
            try:
                proposal = self.sampler.propose(self.study, slot)
            except SpaceExhausted:
                self.evaluations = slot
                return True
            added = enqueue(self.study, slot, proposal, self.sampler.sampler.space)
            trials = self.study.get_trials(deepcopy=False)
            trial = trials_by_index(trials).get(slot)
            if trial is None or trial._trial_id != added:
                return False
        if not take(self.study, trial):
            return False
        if is_double(trial, trials):
            fail(self.study, trial)
            return False
        self._evaluate_trial(trial)
        return True

    def _evaluate_trial(self, trial: FrozenTrial) -> None:
        within = self.sampler.sampler
        architecture = architecture_of(trial, within.space)
        try:
            with _alive(self.study, trial):
                scores = self.evaluator(architecture)
            fitness = scores[self.settings.score_name]
            if fitness is None or not math.isfinite(fitness):
                raise ValueError(f"its {self.settings.score_name} is {fitness}")
        except BaseException as error:
            if not isinstance(error, Exception) or isinstance(error, OF_THE_PROCESS) or is_resource_error(error):
                fail(self.study, trial)
                raise
            fail(self.study, trial, error)
            # Other processes of the same job wait for this one; and a GPU's context does not outlive its errors.
            if comm.world_size() > 1 or isinstance(error, torch.AcceleratorError):
                raise
            self._say_failed(index_of(trial))
            return
        values = [fitness]
        if self.settings.second_objective:
            values.append(getattr(within.table.cost(architecture.ops), self.settings.second_objective))
        with suppress(UpdateFinishedTrialError):  # taken for dead meanwhile: another one evaluates it
            self.study._storage.set_trial_user_attr(trial._trial_id, SCORES, dict(scores))
            self.study.tell(trial.number, values, skip_if_finished=True)

    def _say_failed(self, slot: int) -> None:
        trial = failed_for_good(self.study.get_trials(deepcopy=False)).get(slot)
        if trial is not None:
            self.log(f"  search: candidate {slot} is given up, it failed by {reason_of(trial)}")

    def _wait(self, trials: Sequence[FrozenTrial], waited: float) -> float:
        """Leave others time to finish this generation, and take over from those that are gone; the seconds it took."""
        pause = min(max(waited / 8, LOOKS[0]), LOOKS[1])
        if waited < SAYS_AFTER <= waited + pause:
            count = sum(trial.state == TrialState.RUNNING for trial in trials_by_index(trials).values())
            self.log(f"  search: waits for other workers, which evaluate the last {count} of this generation")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            fail_stale_trials(self.study)
        time.sleep(pause)
        return pause


def reason_of(trial: FrozenTrial) -> str:
    """Why the candidate of a trial that `failed_for_good` names was given up."""
    return str(trial.user_attrs.get(ERROR, "the death of each process that evaluated it"))


@contextmanager
def _alive(study: optuna.Study, trial: FrozenTrial) -> Iterator[None]:
    """Give signs of life for `trial` until the block ends."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(study._storage.get_heartbeat_interval()):  # type: ignore[attr-defined]
            with suppress(StorageInternalError):  # whether the storage answers again, the telling of the result shows
                study._storage.record_heartbeat(trial._trial_id)  # type: ignore[attr-defined]
        study._storage.remove_session()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
