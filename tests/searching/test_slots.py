"""Which slot is free, and whose it is."""

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from detnas.searching.slots import is_surplus, next_slot
from detnas.searching.trials import SLOT

STATES = {
    "w": TrialState.WAITING,
    "r": TrialState.RUNNING,
    "c": TrialState.COMPLETE,
    "p": TrialState.PRUNED,
    "f": TrialState.FAIL,
}


def trials(text: str) -> list[FrozenTrial]:
    """Trials by number, each a slot and the letter of a state: `0c 1r 1f`."""
    made = []
    for number, (*slot, letter) in enumerate(text.split()):
        state = STATES[letter]
        trial = optuna.create_trial(
            state=state, value=0.5 if state == TrialState.COMPLETE else None, user_attrs={SLOT: int("".join(slot))}
        )
        trial.number = number
        made.append(trial)
    return made


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("0c 1c", 2),
        ("0c 2c", 1),  # in whatever order they end
        ("0r 1r 2r", None),  # the next generation must not begin
        ("0c 1p 2c", 3),
        ("0c 1f 2c", 1),  # what failed is free again
        ("0c 1f 2c 1r", None),
        ("0c 1f 2c 1r 3c", None),
        ("0w 1r", 2),
        ("0w 1r 2r", 0),  # the process that enqueued it may be gone
        ("0c 1c 2c 3c 4r", 5),
        ("0c 1c 2c 3c 4c 5r", None),
        ("0c 1c 2c 3c 4c 5c 6c", None),
    ],
)
def test_the_next_slot(text: str, expected: int | None) -> None:
    """Seven evaluations in generations of three."""
    assert next_slot(trials(text), evaluations=7, population=3) == expected


@pytest.mark.parametrize(
    ("text", "surplus"),
    [("0r", []), ("0r 0r", [1]), ("0w 0r", [1]), ("0f 0r", []), ("0c 0r 1r", [1]), ("0f 0r 0r", [2])],
)
def test_of_two_that_hold_a_slot_the_later_is_surplus(text: str, surplus: list[int]) -> None:
    made = trials(text)
    assert [trial.number for trial in made if trial.state == TrialState.RUNNING and is_surplus(trial, made)] == surplus
