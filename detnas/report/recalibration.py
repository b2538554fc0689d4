"""What the check of the recalibration says: whether the ranking would have been another with other images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Judged:
    """A candidate's fitness in the search, and with other BN statistics."""

    number: int
    architecture: str
    fitness: float
    other_images: float
    half: float
    none: float


@dataclass(frozen=True)
class RecalibrationCheck:
    """The best candidates of a search judged again, its winner first."""

    metric: str
    batches: int
    batch_size: int
    seconds: float
    candidates: Sequence[Judged]

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> "RecalibrationCheck":
        """From what recalibration.json holds."""
        return cls(**{**found, "candidates": [Judged(**one) for one in found["candidates"]]})

    def moves(self, what: str) -> float:
        """By how much the fitness of a candidate changes at most with `other_images`, `half` or `none`."""
        return float(max(abs(getattr(one, what) - one.fitness) for one in self.candidates))

    @property
    def sentence(self) -> str:
        """Whether to trust the winner's lead."""
        moves = f"{100 * self.moves('other_images'):.1f}"
        first = self.candidates[0]
        said = f"Recalibrated on other images, the fitness of a candidate moves by up to {moves} points"
        if len(self.candidates) == 1:
            return f"{said}. There is no second candidate to compare with."
        again = max(self.candidates, key=lambda one: one.other_images)
        if again.other_images > first.other_images:
            return (
                f"{said}, and {again.architecture} would have come first: these candidates are closer together than "
                "the choice of recalibration images can tell apart."
            )
        lead = min(first.fitness - one.fitness for one in self.candidates[1:])
        verdict = f"{said}, and the winner stays the first of these {len(self.candidates)}"
        if lead < self.moves("other_images"):
            return (
                f"{verdict}; but its lead of {100 * lead:.1f} is smaller than that: yet other images could have "
                "chosen another."
            )
        return f"{verdict}, by a lead of {100 * lead:.1f} that is larger than that."
