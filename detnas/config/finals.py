"""How the finals compare networks, between the search and the training of what is handed over."""

from itertools import pairwise
from typing import Annotated, Self

from pydantic import Field, model_validator

from detnas.config.section import Section

Finalists = Annotated[int, Field(gt=0, le=1000)]
Rungs = Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1, max_length=8)]


def survivors(count: int) -> int:
    """How many of the networks of a rung go on: half, rounded up, and two if there are so many."""
    return min(count, max(2, -(-count // 2)))


class FinalsSettings(Section):
    """The finals: the best candidates and the best incumbents, which are the networks that one would take without a
    search, are trained standalone without the search split and compared on it, by successive halving."""

    challengers: Finalists = 6
    """Candidates of the search that take part: the best by fitness, each different from those before it in at least two
    choices."""
    incumbents: Finalists = 2
    """Incumbents that take part, the best by fitness."""
    rungs: Rungs = (0.25, 0.5, 1.0)
    """Fractions of the steps of `finetune`, rising. On each rung all that are left are trained again for so many steps,
    and the better half goes on, the best incumbent always."""
    certainty: Annotated[float, Field(ge=0.5, lt=1)] = 0.8
    """The probability, by a paired bootstrap over the images of the search split, with which the best challenger must
    be better than the best incumbent to be handed over in its place. Between this and its opposite both are trained a
    second time, with another seed."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(low >= high for low, high in pairwise(self.rungs)):
            raise ValueError(f"rungs {list(self.rungs)} must rise")
        return self

    def entrants(self) -> list[int]:
        """How many networks are trained on each rung, if there are as many as may take part."""
        counts = [self.challengers + self.incumbents]
        for _ in self.rungs[1:]:
            counts.append(survivors(counts[-1]))
        return counts

    def trainings(self) -> float:
        """The work of all rungs, in whole trainings; second trainings of the last two not counted."""
        return sum(count * rung for count, rung in zip(self.entrants(), self.rungs, strict=True))
