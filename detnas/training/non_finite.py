"""Losses, gradients and weights that are not finite: what is reported, and when they end a training."""

from collections.abc import Callable
from math import isfinite
from pathlib import Path

from detnas.config import TrainingSettings
from detnas.training.state import TrainingState
from detnas.utils.errors import UserError

MOST_SKIPPED = 10
"""The number of steps in a row at which a training ends. A skipped step changes no weight, and the next one has other
images and, in a supernet, another path: when ten steps in a row fail, the cause is the weights."""
IMAGES_NAMED = 32
"""At most so many images of a batch are named."""


def is_finite(metrics: dict[str, float]) -> bool:
    """Whether a step with these metrics may update the weights."""
    return isfinite(metrics["loss"]) and isfinite(metrics["gradient_norm"])


def report_skipped(
    state: TrainingState, directory: Path, metrics: dict[str, float], images: list[str], log: Callable[[str], None]
) -> None:
    """Log that the last step was skipped. Raises `UserError` if that makes `MOST_SKIPPED` in a row."""
    more = len(images) - IMAGES_NAMED
    named = ", ".join(images[:IMAGES_NAMED]) + (f" and {more} more" if more > 0 else "")
    values = ", ".join(f"{name} {metrics[name]:g}" for name in ("loss", "gradient_norm", "lr"))
    # The trainings of a dry run have fewer steps than `MOST_SKIPPED`.
    if state.skipped < min(MOST_SKIPPED, state.settings.steps):
        log(f"  {directory}: step {state.step} is skipped: it is not finite ({values}); its images: {named}")
        return
    raise UserError(
        f"{directory}: {state.skipped} steps in a row are not finite, the last is step {state.step} ({values}; its "
        f"images: {named}); the last checkpoint is kept; {_remedy(state.settings)}"
    )


def refuse_non_finite(state: TrainingState, directory: Path) -> None:
    """Raise `UserError` if a weight or a value of the optimizer's state is not finite."""
    name = state.find_non_finite()
    if name is not None:
        raise UserError(
            f"{directory}: after step {state.step} {name} is not finite; the last checkpoint is kept; "
            f"{_remedy(state.settings)}"
        )


def _remedy(settings: TrainingSettings) -> str:
    return f"lower lr ({settings.lr:g}) or set clip_norm, in a run of its own (another --out)"
