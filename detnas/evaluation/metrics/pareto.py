"""The Pareto front of a cost, which should be low, and a score, which should be high."""

from collections.abc import Sequence


def pareto_front(costs: Sequence[float], scores: Sequence[float]) -> list[int]:
    """The indices of the Pareto front, the cheapest first: no other at the same cost or less scores as high.

    Of equals, the first is on the front.
    """
    front: list[int] = []
    for index in sorted(range(len(costs)), key=lambda index: (costs[index], -scores[index], index)):
        if not front or scores[index] > scores[front[-1]]:
            front.append(index)
    return front
