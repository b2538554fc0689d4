"""The names of the networks that a run trains at its end."""

from pathlib import Path

from detnas.config import Recipe
from detnas.rundir.layout import FINALS, FINALS_RESULT, INCUMBENT, WINNER


def network_names(directory: Path, recipe: Recipe) -> list[str]:
    """The winner, the best incumbent if the finals are over and found another winner, and the baselines."""
    result = FINALS_RESULT.find_intact(directory / FINALS) if recipe.finals else None
    return [WINNER, *([INCUMBENT] if result and result.beaten_incumbent else []), *recipe.baselines]
