"""What an evaluator is: it scores an architecture."""

from collections.abc import Mapping
from typing import Protocol

from detnas.spaces import Architecture

Scores = Mapping[str, float | None]
"""Scores of a candidate by name, higher is better; None where the search split holds nothing to score."""


class Evaluator(Protocol):
    """Scores an architecture with the weights of a trained supernet.

    The scores are the same whenever and wherever they are asked for: evaluating a candidate never changes the supernet
    or another candidate's scores. Where several processes run together, all of them call it with the same architecture,
    each computes its part, and each returns all scores.
    """

    def __call__(self, architecture: Architecture) -> Scores: ...
