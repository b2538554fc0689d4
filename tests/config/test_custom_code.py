"""Recipes with custom code and custom spaces; reading them imports nothing."""

import sys
from typing import Any

import pytest
from pydantic import ValidationError
from small_recipe import small_recipe

from detnas.config import SearchSettings, SpaceSettings
from detnas.config.search import CUSTOM
from detnas.search.evaluators import EVALUATORS
from detnas.spaces import PAPER_OPS, SearchSpace

WITH_CUSTOM_OP = {"space__ops": ["shuffle3", "nowhere.to_be:Found"]}


def test_reading_a_recipe_imports_nothing() -> None:
    recipe = small_recipe(**WITH_CUSTOM_OP, search__fitness="nowhere.else:score")
    assert recipe.search_space().ops == ("shuffle3", "nowhere.to_be:Found")
    assert recipe.search.score_name == "nowhere.else:score"
    assert recipe.search.evaluator is EVALUATORS[CUSTOM] and not recipe.search.is_classification
    assert not any(name.startswith("nowhere") for name in sys.modules)


def test_spaces_are_as_their_fields_say() -> None:
    settings = SpaceSettings(name="tiny", stem=8, channels=(12, 16), repeats=(1, 3), ops=("shuffle5",))
    assert settings.search_space() == SearchSpace("tiny-s8-c12.16-r1.3-1ops", 8, (12, 16), (1, 3), ("shuffle5",))
    assert SpaceSettings().ops == PAPER_OPS


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"space__ops": ["shuffle5"]}, "baselines .*: shuffle3 is none of space.ops shuffle5; leave"),
        ({"space__ops": ["shuffel3"]}, "op 'shuffel3' is unknown; choose from"),
        ({"space__ops": []}, "one to 10"),
        ({"space__repeats": [1, 1]}, "repeats .* one for each stage"),
        ({"space__stem": 8}, "width 0.25 scales the space's own channels"),
        ({"space__width": 1, "space__channels": [8, 6, 7, 5]}, "multiples of 4"),
        (
            {"space__width": 1, "space__channels": [32, 64, 128], "space__repeats": [1, 1, 1]},
            r"detector.strides \[8, 16, 32\]: .* space tiny-c32.64.128-r1.1.1 have maps of \[4, 8, 16\] only",
        ),
        ({"search__fitness": "detections"}, "choose detection or classification, or name a function"),
        ({"search__fitness": "my.module"}, "choose detection or classification, or name a function"),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        small_recipe(**changes)


def test_the_score_of_detection_stays_the_metric() -> None:
    assert SearchSettings().score_name == "mAP" and SearchSettings(fitness="classification").score_name == "accuracy"
