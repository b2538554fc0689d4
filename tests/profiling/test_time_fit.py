"""Runs that are fitted to a time."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from shell import Shell
from small_recipe import small_recipe, write_recipe

import detnas.profiling.time_fit as time_fit
from detnas.config import Recipe, load_recipe
from detnas.profiling.dry_run import Row
from detnas.profiling.time_fit import LEAST, fit_to_time
from detnas.utils.errors import UserError
from detnas.utils.progress import Progress, parse_duration

QUIET = Progress(quiet=True)
CHANGES: dict[str, Any] = {
    "supernet_finetune__steps": 1000,
    "supernet_finetune__warmup": 100,
    "finetune__steps": 500,
    "search__evaluations": 200,
}
PROJECTED = {
    "supernet-finetune": 100.0,
    "search": 50.0,
    "finetune/winner": 30.0,
    "evaluate winner": 4.0,
    "finetune/shuffle3": 30.0,
    "evaluate shuffle3": 5.0,
    "report": 1.0,
}
FIXED = 10.0


@pytest.fixture(autouse=True)
def _measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run that takes no time and finds the stages of the recipe to take what is `PROJECTED`."""
    rows = [Row(name, 1, 1, 1, 1.0, 0, seconds) for name, seconds in PROJECTED.items()]
    monkeypatch.setattr(time_fit, "dry_run", lambda recipe, data, progress: rows)
    monkeypatch.setattr(time_fit, "time", SimpleNamespace(monotonic=lambda: 0.0))


def fit(tmp_path: Path, seconds: float) -> Recipe:
    return fit_to_time(small_recipe(**CHANGES), tmp_path / "run", None, seconds, QUIET)


def amounts(recipe: Recipe) -> tuple[int, int, int]:
    return recipe.supernet_finetune.steps, recipe.search.evaluations, recipe.finetune.steps


@pytest.mark.parametrize("factor", [0.2, 0.5, 1.0, 3.7, 20.0])
def test_every_stage_keeps_its_share(factor: float, tmp_path: Path) -> None:
    fitted = fit(tmp_path, FIXED + 210 * factor)
    for found, own in zip(amounts(fitted), (1000, 200, 500), strict=True):
        assert found == pytest.approx(factor * own, rel=0.01, abs=1)
    assert fitted.supernet_finetune.warmup == pytest.approx(min(100, 100 * factor), abs=1)
    assert fitted.fitted_time == FIXED + 210 * factor
    Recipe.model_validate(fitted.model_dump())


def test_too_little_time_is_refused_with_the_least(tmp_path: Path) -> None:
    least = FIXED + 210 * LEAST
    assert amounts(fit(tmp_path, least + 0.01)) == (100, 20, 50)
    with pytest.raises(UserError, match=r"--time: 30 s are too short, this recipe takes at least 31 s here; give more"):
        fit(tmp_path, least - 1)


def test_a_generation_is_the_least_of_a_search(tmp_path: Path) -> None:
    recipe = small_recipe(**CHANGES | {"search__evaluations": 20, "search__population": 10})
    assert fit_to_time(recipe, tmp_path / "run", None, FIXED + 80, QUIET).search.evaluations == 10


def test_the_command_fits_once_and_continues_with_what_it_wrote(
    tmp_path: Path, shell: Shell, blocks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, run = write_recipe(tmp_path / "recipe.yaml", pretraining__source="none", baselines=[]), tmp_path / "run"
    command = ("run", recipe, "--out", run, "--data", blocks, "--time")
    said = shell(*command, "2m")
    stored = load_recipe(run / "recipe.yaml")
    own = load_recipe(recipe)
    assert stored.fitted_time == 120 and stored.finetune.steps < own.finetune.steps
    assert f"{stored.finetune.steps:,} steps, the recipe has {own.finetune.steps:,}" in said
    monkeypatch.setattr(time_fit, "dry_run", None)  # it is not measured again
    shell(*command, "2m")
    assert load_recipe(run / "recipe.yaml") == stored
    assert "holds a run that was fitted to 2 min; give the command that it was begun with" in shell.refused(
        *command, "3m"
    )
    assert "recipe" in shell.refused("run", recipe, "--out", run, "--data", blocks)


@pytest.mark.parametrize("time", ["45", "soon", "0m", "-5m", "1.5h", "5m1h", ""])
def test_what_is_no_time_is_refused(time: str, shell: Shell, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml")
    said = shell.refused("run", recipe, "--out", tmp_path / "run", f"--time={time}")
    assert "not a time; write for example 45m, 2h or 1h30m" in said
    assert not (tmp_path / "run").exists()


def test_times_are_read() -> None:
    found = {text: parse_duration(text) for text in ("45m", "2h", "1h30m", "90s", "1h1m1s")}
    assert found == {"45m": 2700, "2h": 7200, "1h30m": 5400, "90s": 90, "1h1m1s": 3661}
