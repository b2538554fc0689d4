"""Losses, gradients and weights that are not finite: what is said, and when a training ends by them."""

from collections.abc import Callable
from math import isfinite
from pathlib import Path

from detnas.config import TrainingSettings
from detnas.training.state import TrainingState
from detnas.utils.errors import UserError

MOST_SKIPPED = 10
"""Steps in a row that may be left out. A skipped step changes no weight, so that the next one meets the same weights
with other images, and in a supernet another path: when ten of them fail, it is the weights."""
IMAGES_NAMED = 32
"""Of a batch; of a larger one only the first."""


def is_finite(figures: dict[str, float]) -> bool:
    """Whether a step with these figures could update the weights."""
    return isfinite(figures["loss"]) and isfinite(figures["gradient_norm"])


def report_skipped(
    state: TrainingState,
    settings: TrainingSettings,
    directory: Path,
    figures: dict[str, float],
    images: list[str],
    log: Callable[[str], None],
) -> None:
    """Say that the last step was skipped. Raises `UserError` if it is one too many."""
    more = len(images) - IMAGES_NAMED
    named = ", ".join(images[:IMAGES_NAMED]) + (f" and {more} more" if more > 0 else "")
    told = ", ".join(f"{name} {figures[name]:g}" for name in ("loss", "gradient_norm", "lr"))
    # A dry run's trainings have fewer steps than may be skipped.
    if state.skipped < min(MOST_SKIPPED, settings.steps):
        log(f"  {directory}: step {state.step} is skipped: it is not finite ({told}); its images: {named}")
        return
    raise UserError(
        f"{directory}: {state.skipped} steps in a row are not finite, the last is step {state.step} ({told}; its "
        f"images: {named}); the last checkpoint is kept; {_remedy(settings)}"
    )


def refuse_not_finite(state: TrainingState, settings: TrainingSettings, directory: Path) -> None:
    name = state.not_finite()
    if name is not None:
        raise UserError(
            f"{directory}: after step {state.step} {name} is not finite; the last checkpoint is kept; "
            f"{_remedy(settings)}"
        )


def _remedy(settings: TrainingSettings) -> str:
    return f"lower lr ({settings.lr:g}) or set clip_norm, in a run of its own (another --out)"
