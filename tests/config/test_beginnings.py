"""With which weights the networks of a run begin, by its recipe."""

from typing import Any

import pytest
from small_recipe import small_recipe

from detnas.config.beginnings import begins_with_weights, describe_beginnings, inherits, is_of_space, is_pretrained
from detnas.rundir.layout import Pretrained

RECORD = Pretrained(where="/runs/a/supernet-pretrain", sha256="0123456789abcdef", shuffle="even_odd")
CASES: list[tuple[dict[str, Any], bool, bool, bool, str]] = [
    # Changes of the recipe; whether its winner inherits, is pre-trained, begins with the weights; what is said.
    ({"pretraining__source": "none"}, False, False, False, ""),
    ({}, False, True, False, ""),
    (
        {"pretraining__weights": "a"}, False, True, False,
        "The supernet begins with learned weights: /runs/a/supernet-pretrain (SHA-256 0123456789ab…).",
    ),
    (
        {"pretraining__source": "weights", "pretraining__weights": "a"}, False, False, True,
        "The supernet and all networks begin with learned weights: /runs/a/supernet-pretrain (SHA-256 0123456789ab…).",
    ),
    (
        {"pretraining__source": "weights", "pretraining__weights": "a", "inherit": True}, True, False, False,
        "The supernet begins with learned weights: /runs/a/supernet-pretrain (SHA-256 0123456789ab…). "
        "The networks of the search space begin with the weights of the fine-tuned supernet.",
    ),
    ({"inherit": True}, True, False, False,
     "The networks of the search space begin with the weights of the fine-tuned supernet."),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "inheriting", "pretrained", "beginning", "said"), CASES)
def test_how_the_winner_begins(
    changes: dict[str, Any], inheriting: bool, pretrained: bool, beginning: bool, said: str
) -> None:
    recipe = small_recipe(**changes)
    assert inherits(recipe, "winner") == inherits(recipe, "00-00-0000-00") == inheriting
    assert is_pretrained(recipe, "winner") == pretrained
    assert begins_with_weights(recipe, "winner") == beginning
    assert describe_beginnings(recipe, RECORD if recipe.pretraining.weights else None) == said


def test_baselines_of_other_spaces_inherit_nothing() -> None:
    recipe = small_recipe(inherit=True)
    for name, is_one in {"random2": True, "shuffle3": True, "detnas-fpn-300m": False, "resnet50": False}.items():
        assert is_of_space(recipe, name) == inherits(recipe, name) == is_one
        assert is_pretrained(recipe, name) != is_one
    small = small_recipe(inherit=True, space={"name": "small"}, pretraining__weights="a")
    assert inherits(small, "detnas-fpn-300m") and not inherits(small, "detnas-fpn-1.3g")
