"""The Pareto front of a cost, which should be low, and a score, which should be high."""

from collections.abc import Sequence


def pareto_front(costs: Sequence[float], scores: Sequence[float]) -> list[int]:
    """The places of those that none as cheap or cheaper reaches, the cheapest first; of equals, the first."""
    front: list[int] = []
    for place in sorted(range(len(costs)), key=lambda place: (costs[place], -scores[place], place)):
        if not front or scores[place] > scores[front[-1]]:
            front.append(place)
    return front
