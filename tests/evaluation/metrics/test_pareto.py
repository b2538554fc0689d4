"""The Pareto front against its definition."""

from hypothesis import given
from hypothesis import strategies as st

from detnas.evaluation.metrics.pareto import pareto_front

POINTS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=30)


@given(POINTS)
def test_the_front_is_what_nothing_dominates(points: list[tuple[int, int]]) -> None:
    """Points are a cost and a score."""
    front = pareto_front([cost for cost, _ in points], [score for _, score in points])

    def dominated(point: tuple[int, int]) -> bool:
        return any(other != point and other[0] <= point[0] and other[1] >= point[1] for other in points)

    assert {points[place] for place in front} == {point for point in points if not dominated(point)}
    assert [points[place][0] for place in front] == sorted({points[place][0] for place in front})
    assert all(points.index(points[place]) == place for place in front)  # of equals, the first
