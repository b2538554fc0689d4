"""A worker of the search: makes one free evaluation of the study after another, beside any number of other workers.

Each makes the proposals itself, which are the same for all. So workers share only the study, and may be killed.
"""

import math
import random
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import optuna
import torch
from optuna.exceptions import ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from detnas.distributed import comm
from detnas.distributed.comm import ProcessLostError
from detnas.search.evaluators.base import Evaluator
from detnas.search.parameters import architecture_from
from detnas.search.samplers.base import Sampler, SpaceExhausted
from detnas.search.study import claims, optuna_internals
from detnas.search.study.trials import SCORES, SECONDS, history_of, index_of
from detnas.utils.errors import UserError
from detnas.utils.resource_errors import is_resource_error

PROCESS_ERRORS = (UserError, ProcessLostError)
"""Errors that are not the candidate's."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two looks at what other workers are doing."""
SAYS_AFTER = 10.0
"""Seconds of waiting for other workers after which that is said."""


@dataclass
class Worker:
    """Evaluates candidates with `evaluator`, whose score named `settings.score_name` is their fitness."""

    study: optuna.Study
    sampler: Sampler
    evaluator: Evaluator
    log: Callable[[str], None]

    def __post_init__(self) -> None:
        self.space = self.sampler.space
        self.settings = self.sampler.settings
        self.evaluations = self.settings.evaluations
        """How many evaluations there are; fewer than the settings say once the space is known to hold no more."""

    def work(self) -> Iterator[Sequence[FrozenTrial]]:
        """Evaluate until nothing is left to do for any worker; yields the study's trials before each evaluation, while
        it waits, and at the end."""
        waited, lost = 0.0, False
        while True:
            trials = self.study.get_trials(deepcopy=False)
            yield trials
            indices = claims.open_indices(trials, self.evaluations, self.sampler.generation_size)
            if indices:
                # Workers that want the same evaluation choose different ones here.
                lost = not self._evaluate(random.choice(indices) if lost else indices[0], trials)
                waited = 0.0
            elif claims.finished_indices(trials).issuperset(range(self.evaluations)):
                return
            else:
                waited += self._wait(trials, waited)

    def _evaluate(self, index: int, trials: Sequence[FrozenTrial]) -> bool:
        """Make an evaluation, if a candidate is left for it; False if another worker has claimed it."""
        trial = claims.trials_by_index(trials).get(index)
        if trial is None:
            try:
                proposal = self.sampler.propose(history_of(trials, self.space), index)
            except SpaceExhausted:
                self.evaluations = index
                return True
            added = claims.enqueue(self.study, index, proposal, self.space)
            trials = self.study.get_trials(deepcopy=False)
            trial = claims.trials_by_index(trials).get(index)
            if trial is None or optuna_internals.trial_id(trial) != added:
                return False
        if not claims.claim(self.study, trial):
            return False
        if claims.is_duplicate(trial, trials):
            claims.fail(self.study, trial)
            return False
        self._evaluate_trial(trial)
        return True

    def _evaluate_trial(self, trial: FrozenTrial) -> None:
        architecture = architecture_from(trial.params, self.space)
        began = time.monotonic()
        try:
            with _heartbeats(self.study, trial):
                scores = self.evaluator(architecture)
            fitness = scores[self.settings.score_name]
            if fitness is None or not math.isfinite(fitness):
                raise ValueError(f"its {self.settings.score_name} is {fitness}")
        except BaseException as error:
            if not isinstance(error, Exception) or isinstance(error, PROCESS_ERRORS) or is_resource_error(error):
                claims.fail(self.study, trial)
                raise
            claims.fail(self.study, trial, error)
            # Other processes of the same job wait for this one; and a GPU's context does not outlive its errors.
            if comm.world_size() > 1 or isinstance(error, torch.AcceleratorError):
                raise
            index = index_of(trial)
            given_up = claims.failed_for_good(self.study.get_trials(deepcopy=False)).get(index)
            if given_up is not None:
                self.log(f"  search: candidate {index} is given up, it failed by {claims.reason_of(given_up)}")
            return
        seconds = time.monotonic() - began
        values = [fitness]
        if self.settings.second_objective:
            cost = self.sampler.budget_sampler.cost(architecture)
            values.append(getattr(cost, self.settings.second_objective))
        with suppress(UpdateFinishedTrialError):  # taken for dead meanwhile: another worker evaluates it
            optuna_internals.set_trial_attribute(self.study, trial, SCORES, {**scores, SECONDS: round(seconds, 3)})
            self.study.tell(trial.number, values, skip_if_finished=True)

    def _wait(self, trials: Sequence[FrozenTrial], waited: float) -> float:
        """Leave others time to finish this generation, and fail the trials of those that are gone; returns the seconds
        that it took."""
        pause = min(max(waited / 8, SHORTEST_PAUSE), LONGEST_PAUSE)
        if waited < SAYS_AFTER <= waited + pause:
            count = sum(trial.state == TrialState.RUNNING for trial in claims.trials_by_index(trials).values())
            self.log(f"  search: waits for other workers, which evaluate the last {count} of this generation")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            fail_stale_trials(self.study)
        time.sleep(pause)
        return pause


@contextmanager
def _heartbeats(study: optuna.Study, trial: FrozenTrial) -> Iterator[None]:
    """Record heartbeats of `trial` from a thread until the block ends."""
    is_over = threading.Event()

    def beat() -> None:
        while not is_over.wait(optuna_internals.HEARTBEAT):
            with suppress(StorageInternalError):  # whether the storage answers again, the telling of the result shows
                optuna_internals.record_heartbeat(study, trial)
        optuna_internals.close_session(study)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
