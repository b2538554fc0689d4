"""Rank correlations against their definitions, written out naively."""

from itertools import combinations
from math import isnan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detnas.evaluation.metrics.correlation import kendall_tau, regret, spearman_rho, with_interval

PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=12)


def arrays(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    first, second = zip(*pairs, strict=True)
    return np.array(first, np.float64), np.array(second, np.float64)


@given(PAIRS)
def test_tau_counts_pairs(pairs: list[tuple[int, int]]) -> None:
    alike = opposed = first_tied = second_tied = 0
    for (a, x), (b, y) in combinations(pairs, 2):
        product = (a - b) * (x - y)
        alike += product > 0
        opposed += product < 0
        first_tied += a == b
        second_tied += x == y
    every = len(pairs) * (len(pairs) - 1) // 2
    norm = sqrt((every - first_tied) * (every - second_tied))
    tau = kendall_tau(*arrays(pairs))
    assert isnan(tau) if norm == 0 else tau == pytest.approx((alike - opposed) / norm)


@given(PAIRS)
def test_rho_is_the_correlation_of_ranks(pairs: list[tuple[int, int]]) -> None:
    def ranks(values: list[int]) -> list[float]:
        return [1 + sum(other < value for other in values) + (values.count(value) - 1) / 2 for value in values]

    first, second = (ranks(list(values)) for values in zip(*pairs, strict=True))
    rho = spearman_rho(*arrays(pairs))
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert isnan(rho)
    else:
        assert rho == pytest.approx(np.corrcoef(first, second)[0, 1])


@given(PAIRS)
def test_neither_depends_on_the_order_or_on_the_scale(pairs: list[tuple[int, int]]) -> None:
    scores, truth = arrays(pairs)
    for figure in (kendall_tau, spearman_rho):
        expected = figure(scores, truth)
        for value in (figure(scores[::-1], truth[::-1]), figure(scores**3, np.exp(truth)), -figure(-scores, truth)):
            assert value == pytest.approx(expected, nan_ok=True)


def test_regret_is_what_the_best_by_score_lacks() -> None:
    truth = np.array([0.3, 0.5, 0.4, 0.1])
    assert regret(np.array([4.0, 1, 2, 3]), truth) == pytest.approx(0.2)
    assert regret(np.array([4.0, 1, 2, 3]), truth, top=3) == pytest.approx(0.1)
    assert regret(np.array([4.0, 1, 2, 3]), truth, top=4) == 0
    assert regret(truth, truth) == 0


def test_the_interval_holds_the_figure_and_narrows_with_more_networks() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for count in (20, 160):
        truth = rng.normal(size=count)
        estimate = with_interval(kendall_tau, truth + rng.normal(size=count), truth)
        assert -1 <= estimate.low < estimate.value < estimate.high <= 1
        assert estimate.low < 0.5 < estimate.high  # of two normals correlated by sqrt(1/2), tau is 1/2
        widths.append(estimate.high - estimate.low)
    assert widths[1] < widths[0] / 1.5
    assert with_interval(kendall_tau, truth, truth) == with_interval(kendall_tau, truth, truth)
