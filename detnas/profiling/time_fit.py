"""Fitting a recipe's steps and evaluations to the time that a user has."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from detnas.config import Recipe, TrainingSettings, load_recipe
from detnas.config.recipe import TRAININGS
from detnas.profiling.dry_run import Row, dry_run
from detnas.rundir.directory import find_stored_run
from detnas.rundir.layout import FINALS, RECIPE, SEARCH
from detnas.utils.errors import UserError
from detnas.utils.progress import Progress, format_duration

LEAST = 0.1
"""Of a recipe's steps: trainings as short as that have hardly begun to learn."""
TOLERANCE = 1e-3
"""Of the factor on a recipe's steps."""


def fit_to_time(recipe: Recipe, directory: Path, data: Path | None, seconds: float, progress: Progress) -> Recipe:
    """`recipe` with so many steps and evaluations that a run on `data` takes `seconds` from now, each stage the same
    share of them as in the recipe; of a run in `directory` that was fitted to this time, those that it has.

    A dry run measures how long the stages take. Raises `UserError` if the time is too short, or if `directory` holds a
    run that was not fitted to it.
    """
    if find_stored_run(directory) is not None:
        return _fitted_before(recipe, directory, seconds)
    began = time.monotonic()
    progress.log(f"Measuring the stages, to fit them into {format_duration(seconds)}")
    rows = dry_run(recipe, data, Progress(quiet=True))
    measured = time.monotonic() - began

    def projected(factor: float) -> float:
        return measured + sum(_seconds(rows, recipe, _scaled(recipe, factor)).values())

    if projected(LEAST) > seconds:
        raise UserError(
            f"--time: {format_duration(seconds)} are too short, this recipe takes at least "
            f"{format_duration(projected(LEAST))} here; give more"
        )
    low, high = LEAST, 2 * LEAST
    while projected(high) <= seconds:
        low, high = high, 2 * high
    while high - low > TOLERANCE * low:
        middle = (low + high) / 2
        low, high = (middle, high) if projected(middle) <= seconds else (low, middle)
    fitted = _scaled(recipe, low).model_copy(update={"fitted_time": seconds})
    for line in _describe(_seconds(rows, recipe, fitted), recipe, fitted):
        progress.log(line)
    return fitted


def _fitted_before(recipe: Recipe, directory: Path, seconds: float) -> Recipe:
    """`recipe` with what was fitted when the run in `directory` began."""
    known = load_recipe(directory / RECIPE)
    if known.fitted_time != seconds:
        fitted = f"fitted to {format_duration(known.fitted_time)}" if known.fitted_time else "not fitted to a time"
        raise UserError(
            f"--time: {directory} holds a run that was {fitted}; give the command that it was begun with, or choose "
            "another --out"
        )
    trainings = {name: getattr(known, name) for name in TRAININGS}
    return _changed(recipe, trainings, known.search.evaluations).model_copy(update={"fitted_time": seconds})


def _scaled(recipe: Recipe, factor: float) -> Recipe:
    """`recipe` with `factor` times the steps of every training and the evaluations of the search."""
    trainings = {name: getattr(recipe, name).scaled(factor) for name in TRAININGS}
    return _changed(recipe, trainings, max(recipe.search.population, round(factor * recipe.search.evaluations)))


def _changed(recipe: Recipe, trainings: dict[str, TrainingSettings], evaluations: int) -> Recipe:
    """`recipe` with the steps and warm-ups of these trainings."""
    changes: dict[str, Any] = {
        name: getattr(recipe, name).model_copy(update={"steps": one.steps, "warmup": one.warmup})
        for name, one in trainings.items()
    }
    changes["search"] = recipe.search.model_copy(update={"evaluations": evaluations})
    return recipe.model_copy(update=changes)


def _seconds(rows: Sequence[Row], recipe: Recipe, fitted: Recipe) -> dict[str, float]:
    """The seconds of each stage of `fitted`, given what was projected for `recipe`; evaluations and the report take as
    long whatever the steps."""
    found: dict[str, float] = {}
    for row in rows:
        stage = row.name.partition("/")[0]
        name = stage.replace("-", "_")
        factor = 1.0
        if name in TRAININGS:
            factor = getattr(fitted, name).steps / getattr(recipe, name).steps
        elif stage == FINALS:
            factor = fitted.finetune.steps / recipe.finetune.steps
        elif stage == SEARCH:
            factor = fitted.search.evaluations / recipe.search.evaluations
        else:
            stage = "evaluation and report"
        found[stage] = found.get(stage, 0.0) + factor * row.projected
    return found


def _describe(seconds: dict[str, float], recipe: Recipe, fitted: Recipe) -> Iterator[str]:
    """What will be done, and how long each stage takes."""
    for stage, taken in seconds.items():
        name = stage.replace("-", "_")
        amount = ""
        if name in TRAININGS:
            amount = f"{getattr(fitted, name).steps:,} steps, the recipe has {getattr(recipe, name).steps:,}"
        elif stage == FINALS and fitted.finals:
            amount = f"{sum(fitted.finals.entrants())} trainings of up to {fitted.finetune.steps:,} steps"
        elif stage == SEARCH:
            amount = f"{fitted.search.evaluations:,} candidates, the recipe has {recipe.search.evaluations:,}"
        yield f"  {stage:22}{format_duration(taken):>14}  {amount}".rstrip()
