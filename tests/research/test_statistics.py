"""The experiments' statistics, against scipy, formulas and least-squares fits."""

from itertools import product
from math import asin, pi
from typing import Any

import numpy as np
import pytest
from scipy import stats

from detnas.evaluation.metrics.correlation import kendall_tau, with_interval
from research.comparison import estimates
from research.statistics import (
    Blocks,
    mean_effect,
    mean_of,
    pooled_deviation,
    reliability,
    student_interval,
    tau_beyond,
    tau_gained,
)


def test_an_interval_reaches_as_many_standard_errors_as_the_table_of_students_t_says() -> None:
    for freedom, quantile in ((1, 12.706), (3, 3.182), (15, 2.131), (30, 2.042)):
        found = student_interval(0.5, 0.1, freedom)
        assert found.value == 0.5
        assert found.high - 0.5 == pytest.approx(0.1 * quantile, rel=5e-4)
        assert 0.5 - found.low == pytest.approx(0.1 * quantile, rel=5e-4)
    assert vars(student_interval(0.5, 0.0, 3)) == {"value": 0.5, "low": 0.5, "high": 0.5}


def test_the_interval_of_a_mean_is_that_of_a_t_test() -> None:
    values = np.random.default_rng(0).normal(size=7).tolist()
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = mean_of(values)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    wider = mean_of(values, known_variance=1.0)
    quantile = stats.t.ppf(0.975, 6)
    assert wider.high - wider.value == pytest.approx(quantile * (1 + np.var(values, ddof=1) / 7) ** 0.5)


def test_methods_are_compared_as_by_a_least_squares_fit() -> None:
    """An independent reference: dummy regression on methods and blocks, and the variance of a contrast of effects."""
    scores = np.random.default_rng(0).normal(size=(6, 4))
    analysis = Blocks(scores)
    dummies = np.array([[*np.eye(6)[i], *np.eye(4)[j][1:]] for i, j in np.ndindex(scores.shape)])
    effects, (rest,), *_ = np.linalg.lstsq(dummies, scores.ravel())
    variance = rest / (dummies.shape[0] - dummies.shape[1])
    contrast = np.eye(dummies.shape[1])[0] - np.eye(dummies.shape[1])[2]
    error = (variance * contrast @ np.linalg.inv(dummies.T @ dummies) @ contrast) ** 0.5
    gained = analysis.difference(0, 2)
    assert analysis.freedom == 15 and analysis.residual == pytest.approx(variance**0.5)
    assert gained.value == pytest.approx(effects @ contrast)
    assert gained.high - gained.value == pytest.approx(stats.t.ppf(0.975, 15) * error)
    mean = analysis.mean(1)
    assert mean.value == pytest.approx(scores[1].mean())
    assert mean.high - mean.value == pytest.approx(stats.t.ppf(0.975, 15) * (variance / 4) ** 0.5)


def test_two_methods_are_compared_as_by_a_paired_t_test() -> None:
    scores = np.random.default_rng(1).normal(size=(2, 9))
    expected = stats.ttest_rel(*scores).confidence_interval(0.95)
    found = Blocks(scores).difference(0, 1)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_estimates_take_the_blocks_that_all_methods_have() -> None:
    methods, blocks = ("DetNAS", "all shuffle3", "random networks"), 4
    scores = np.random.default_rng(0).normal(size=(len(methods), blocks))
    places = [("retinanet", 0), ("retinanet", 1), ("retinanet", 2), ("fpn", 0)]
    found: dict[str, Any] = {"retinanet": {}, "fpn": {}}
    for (method, row), (block, (detector, seed)) in product(zip(methods, scores, strict=True), enumerate(places)):
        # Two trainings whose mean is the score.
        networks = [{"seed": seed, "mAP": row[block] + error} for error in (-0.1, 0.1)]
        found[detector].setdefault(method, []).extend(networks)
    # Of this block only one method is known.
    found["fpn"]["all shuffle3"].append({"seed": 1, "mAP": 0.9})
    result = estimates(found, methods)
    expected = Blocks(scores).difference(0, 2)
    gained = result["methods"]["random networks"]["DetNAS less this"]
    assert result["blocks"] == blocks
    assert gained == pytest.approx(vars(expected), abs=1e-5)
    assert result["standard deviation between trainings"] == pytest.approx(0.02**0.5, abs=1e-5)
    assert estimates({"fpn": found["fpn"]}, methods) == {}  # one block shows nothing


def test_what_searches_gain_is_what_a_normal_posterior_says() -> None:
    """For effects whose mean and covariance are known: by formula, without draws."""
    rng = np.random.default_rng(0)
    mean, spread = rng.normal(size=6), rng.normal(size=(6, 6))
    draws = (mean + rng.normal(size=(100_000, 6)) @ spread).reshape(-1, 3, 2)
    differences = rng.normal(size=(4, 3, 2))
    found, each = mean_effect(draws, differences)
    flat = differences.reshape(4, 6)
    gains, toward = flat @ mean, flat.mean(0)
    variance = toward @ spread.T @ spread @ toward + gains.var(ddof=1) / 4
    assert each == pytest.approx(gains, abs=0.05)
    assert found.value == pytest.approx(gains.mean(), abs=0.03)
    assert found.high - found.value == pytest.approx(stats.t.ppf(0.975, 3) * variance**0.5, rel=0.02)


def test_the_pooled_deviation_is_that_within_groups() -> None:
    assert pooled_deviation([[1.0, 3.0], [10.0, 10.0], [0.0, 2.0]]) == pytest.approx((4 / 3) ** 0.5)


def test_reliability_compares_architectures_with_seeds() -> None:
    """Of simulated normal scores: deviations as they were drawn, and the tau of the true scores with the means."""
    rng = np.random.default_rng(0)
    truth = rng.normal(scale=2.0, size=3000)
    scores = truth[:, None] + rng.normal(size=(3000, 2))
    found = reliability(scores.tolist())
    assert found["standard deviation between seeds"] == pytest.approx(1.0, rel=0.05)
    assert found["standard deviation between architectures"] == pytest.approx((4 + 1 / 2) ** 0.5, rel=0.05)
    assert found["Kendall's tau of a perfect ranking"] == pytest.approx(
        stats.kendalltau(truth, scores.mean(1))[0], abs=0.02
    )
    assert found["Kendall's tau of one seed with the other"] == pytest.approx(2 / pi * asin(4 / 5), abs=0.03)


def test_kendalls_tau_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    scores, truth = rng.integers(5, size=(2, 30)).astype(np.float64)  # with ties
    assert kendall_tau(scores, truth) == pytest.approx(stats.kendalltau(scores, truth).statistic)


def test_the_bootstrap_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    scores, noise = rng.normal(size=(2, 40))
    truth = scores + noise
    found = with_interval(kendall_tau, scores, truth, draws=4000)
    expected = stats.bootstrap(
        (scores, truth), kendall_tau, paired=True, vectorized=False, method="percentile", n_resamples=4000, rng=rng
    ).confidence_interval
    # Quantiles of 4,000 draws have standard errors of about 0.004 here.
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.03)


def test_what_is_gained_is_the_difference_of_mean_taus() -> None:
    truth = np.arange(10.0)
    scores = np.column_stack([truth, truth, -truth])
    assert tau_gained(2, scores, truth) == pytest.approx(2.0)


def test_what_is_beyond_other_scores_is_measured_on_residuals() -> None:
    rng = np.random.default_rng(0)
    known, beyond = rng.normal(size=(2, 200))
    truth = 5 * known + beyond
    # A score of what is known only says nothing beyond it; one that has the rest ranks the residuals perfectly.
    assert tau_beyond(1, np.column_stack([truth + known, known]), truth) == pytest.approx(1.0)
    assert abs(tau_beyond(1, np.column_stack([known + rng.normal(size=200), known]), truth)) < 0.25
