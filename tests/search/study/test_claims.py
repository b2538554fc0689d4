"""Which evaluation is free, and whose it is."""

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from detnas.search.study.claims import (
    ATTEMPTS,
    DEATHS,
    ERROR,
    GIVEN_BACK,
    failed_for_good,
    open_indices,
    trials_by_index,
)
from detnas.search.study.trials import INDEX

STATES = {
    "w": TrialState.WAITING,
    "r": TrialState.RUNNING,
    "c": TrialState.COMPLETE,
    "p": TrialState.PRUNED,
    "f": TrialState.FAIL,
    "e": TrialState.FAIL,
    "b": TrialState.FAIL,
}
MARKS = {"e": {ERROR: "ValueError: no"}, "b": {GIVEN_BACK: True}}


def trials(text: str) -> list[FrozenTrial]:
    """Trials by number, each an index and the letter of a state: `0c 1r 1f`; failed by an error e, given back b."""
    made = []
    for number, (*index, letter) in enumerate(text.split()):
        state = STATES[letter]
        trial = optuna.create_trial(
            state=state,
            value=0.5 if state == TrialState.COMPLETE else None,
            user_attrs={INDEX: int("".join(index))} | MARKS.get(letter, {}),
        )
        trial.number = number
        made.append(trial)
    return made


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [0, 1, 2]),
        ("0c 1c", [2]),
        ("0c 2c", [1]),  # in whatever order they end
        ("0r 1r 2r", []),  # the next generation must not begin
        ("0c 1p 2c", [3, 4, 5]),
        ("0c 1f 2c", [1]),  # what failed is free again
        ("0c 1f 2c 1r", []),
        ("0c 1f 2c 1r 3c", []),
        ("0w 1r", [2]),
        ("0w 1r 2r", [0]),  # the worker that added it may be gone
        ("0w 1w 2c", [0, 1]),
        ("0c 1c 2c 3c 4r", [5]),
        ("0c 1c 2c 3c 4c 5r", []),
        ("0c 1c 2c 3c 4c 5c", [6]),
        ("0c 1c 2c 3c 4c 5c 6c", []),
        ("0c 1e 1e 2c", [1]),
        ("0c 1e 1e 1e 2c", [3, 4, 5]),  # given up
        ("0c 1e 1e 1e 1w 2c", [3, 4, 5]),
        ("0c 1e 1e 1f 1b 2c", [1]),
        ("0e 0e 0e 1e 1e 1e 2e 2e 2e", [3, 4, 5]),
        ("0c " + "1f " * 9 + "2c", [1]),
        ("0c " + "1f " * 10 + "2c", [3, 4, 5]),
        ("0c " + "1b " * 10 + "2c", [1]),
    ],
)
def test_the_evaluations_that_are_open(text: str, expected: list[int]) -> None:
    """Of seven evaluations in generations of three."""
    assert open_indices(trials(text), evaluations=7, generation_size=3) == expected


@pytest.mark.parametrize(
    ("text", "holder"),
    [("0r", 0), ("0r 0w", 0), ("0w 0r", 0), ("0f 0r", 1), ("0c 0w", 0), ("0f 0e 0w 0r", 2), ("0f", None), ("1r", None)],
)
def test_of_two_trials_the_earlier_holds_their_index(text: str, holder: int | None) -> None:
    held = trials_by_index(trials(text)).get(0)
    assert (held and held.number) == holder


def test_a_candidate_is_given_up_that_failed_too_often() -> None:
    assert failed_for_good(trials("0e 0f 0e 1b 2c")) == {}
    made = trials("0e 0f 0e 1b 2c 0e")
    assert failed_for_good(made) == {0: made[5]}
    assert failed_for_good(trials("3f " * (DEATHS - 1))) == {}
    assert failed_for_good(trials("3f " * DEATHS)).keys() == {3}
    assert ATTEMPTS == 3  # as the documents say
