"""Optuna's trials as the search reads them: an architecture, and which of the search's evaluations evaluates it."""

from collections.abc import Iterable

from optuna.trial import FrozenTrial, TrialState

from detnas.search.parameters import architecture_from
from detnas.search.samplers.base import EvaluationRecord, History
from detnas.spaces import SearchSpace

INDEX = "index"
"""The attribute of a trial that holds its evaluation index: several trials may try one evaluation."""
ORIGIN = "origin"
"""The attribute that holds how its architecture was made."""

SCORES = "scores"
"""The attribute of a finished trial that holds all scores of its candidate, and beside them `SECONDS`."""
SECONDS = "evaluation_seconds"
"""How long its evaluation took, by a clock that nobody sets."""


def index_of(trial: FrozenTrial) -> int:
    """The evaluation index of a trial, from 0; of a trial that another program added, its number."""
    return int(trial.user_attrs.get(INDEX, trial.number))


def fitness_of(trial: FrozenTrial) -> float:
    """The first objective of a finished trial."""
    return float(trial.values[0])


def seconds_of(trial: FrozenTrial) -> float:
    """How long the evaluation of a finished trial took, in seconds; of one that another program added, by its dates."""
    dated = trial.duration.total_seconds() if trial.duration else 0.0
    return round(max(0.0, float(trial.user_attrs.get(SCORES, {}).get(SECONDS, dated))), 3)


def history_of(trials: Iterable[FrozenTrial], space: SearchSpace) -> History:
    """What samplers learn from: a record for each trial that has an architecture."""
    return [
        EvaluationRecord(
            index_of(trial),
            architecture_from(trial.params, space),
            "finished" if finished else "failed" if trial.state == TrialState.FAIL else "running",
            tuple(trial.values) if finished else (),
        )
        for trial in sorted(trials, key=lambda trial: (index_of(trial), trial.number))
        if trial.params
        for finished in [trial.state == TrialState.COMPLETE]
    ]
