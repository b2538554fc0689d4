"""The fields of a recipe that may be `auto`: a run sets them by its data set."""

from collections.abc import Callable
from typing import Any

from detnas.config.recipe import Recipe

FIELDS = {"anchor_sizes": "detector", "aspect_ratio": "budget", "classes": "budget"}
"""With their sections."""

ASSUMED_STRIDES = 4
ASSUMED_ASPECT_RATIO = 4 / 3
ASSUMED_CLASSES = 20


def fill(recipe: Recipe, value: Callable[[str], Any]) -> Recipe:
    """`recipe` with the `value` of each of `FIELDS` that is `auto`."""
    for field, section in FIELDS.items():
        settings = getattr(recipe, section)
        if getattr(settings, field) == "auto":
            recipe = recipe.model_copy(update={section: settings.model_copy(update={field: value(field)})})
    return recipe


def fill_from(recipe: Recipe, known: Recipe) -> Recipe:
    """`recipe` with the values of `known`."""
    return fill(recipe, lambda field: getattr(getattr(known, FIELDS[field]), field))


def fill_usual(recipe: Recipe) -> Recipe:
    """`recipe` with usual values, where only costs are asked and there is no data set."""
    usual = {
        # Costs do not depend on them.
        "anchor_sizes": tuple(ASSUMED_STRIDES * stride for stride in recipe.detector.level_strides),
        "aspect_ratio": ASSUMED_ASPECT_RATIO,
        "classes": ASSUMED_CLASSES,
    }
    return fill(recipe, lambda field: usual[field])


def is_budget_known(recipe: Recipe) -> bool:
    """Whether what the budget bounds depends on no data set."""
    budget = recipe.budget
    return budget.of == "backbone" or "auto" not in (budget.aspect_ratio, budget.classes)
