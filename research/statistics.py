"""The experiments' statistics: intervals of means, comparisons of methods by blocks, and rank correlations.

Intervals are of 95 %. Kendall's tau and the bootstrap are those of detnas.evaluation.metrics.correlation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import asin, inf, pi, sqrt
from statistics import fmean, mean, stdev, variance

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from detnas.evaluation.metrics.correlation import Values, kendall_tau
from detnas.utils.estimate import Estimate

Floats = NDArray[np.float64]


def student_interval(value: float, error: float, freedom: int) -> Estimate:
    """The interval of an estimate by Student's t, given its standard error and the degrees of freedom of that."""
    reach = float(stats.t.ppf(0.975, freedom)) * error
    return Estimate(value, value - reach, value + reach)


def mean_of(values: Sequence[float], known_variance: float = 0.0) -> Estimate:
    """The mean of at least two independent values, whose variance has a part that is known beside what they show."""
    error = (known_variance + variance(values) / len(values)) ** 0.5
    return student_interval(fmean(values), error, len(values) - 1)


def mean_effect(draws: Floats, differences: Floats) -> tuple[Estimate, list[float]]:
    """The mean of what differences in ops add to mAP, and what each of them adds.

    `draws` (draws, blocks, ops) are effects of ops drawn from their posterior; `differences` (searches, blocks, ops)
    say how much more often an architecture has each op. The interval covers the posterior's variance and that
    between searches.
    """
    gains = np.einsum("dbo,sbo->sd", draws, differences)
    each = gains.mean(1).tolist()
    return mean_of(each, float(gains.mean(0).var())), each


@dataclass(frozen=True)
class Blocks:
    """An analysis of variance of scores (methods, blocks) by method and block, without interaction.

    What a block does to all methods alike is in no interval. There must be two methods and two blocks at least.
    """

    scores: Floats

    @property
    def freedom(self) -> int:
        methods, blocks = self.scores.shape
        return int((methods - 1) * (blocks - 1))

    @cached_property
    def residual(self) -> float:
        """The residual standard deviation."""
        scores = self.scores
        residuals = scores - scores.mean(1, keepdims=True) - scores.mean(0) + scores.mean()
        return float(np.sqrt((residuals**2).sum() / self.freedom))

    def mean(self, method: int) -> Estimate:
        error = self.residual / self.scores.shape[1] ** 0.5
        return student_interval(float(self.scores[method].mean()), error, self.freedom)

    def difference(self, method: int, other: int) -> Estimate:
        """The mean of one method minus that of another."""
        error = self.residual * (2 / self.scores.shape[1]) ** 0.5
        return student_interval(float((self.scores[method] - self.scores[other]).mean()), error, self.freedom)


def pooled_deviation(groups: Sequence[Sequence[float]]) -> float:
    """The standard deviation within groups of one size."""
    return sqrt(fmean(map(variance, groups)))


def reliability(scores: Sequence[Sequence[float]]) -> dict[str, float]:
    """How large differences between architectures are beside those between seeds, from (architectures, seeds) scores.

    The standard deviation between architectures is that of their means. These means are noisy, so that even the ranking
    by the true scores has a tau below 1 with them: for normal deviates it follows from their correlation (Greiner).
    """
    between, within = stdev(map(mean, scores)), pooled_deviation(scores)
    first, second = np.array(scores).T[:2]
    explained = max(0.0, 1 - (within / between) ** 2 / len(scores[0])) if between else 0.0
    return {
        "standard deviation between architectures": round(between, 5),
        "standard deviation between seeds": round(within, 5),
        "ratio": round(between / within, 3) if within else inf,
        "Kendall's tau of one seed with the other": round(kendall_tau(first, second), 3),
        "Kendall's tau of a perfect ranking": round(2 / pi * asin(explained**0.5), 3),
    }


def mean_tau(scores: Values, truth: Values) -> float:
    """The mean of the taus of the columns of scores (networks, supernets) with the truth (networks,)."""
    return fmean(kendall_tau(column, truth) for column in scores.T)


def tau_gained(count: int, scores: Values, truth: Values) -> float:
    """The mean tau of the first `count` columns minus that of the others."""
    return mean_tau(scores[:, :count], truth) - mean_tau(scores[:, count:], truth)


def tau_beyond(count: int, scores: Values, truth: Values) -> float:
    """The mean tau of the first `count` columns, a linear fit to the others subtracted from them and the truth."""
    known = np.column_stack([np.ones(len(truth)), scores[:, count:]])
    rest, truth_rest = (of - known @ np.linalg.lstsq(known, of)[0] for of in (scores[:, :count], truth))
    return mean_tau(rest, truth_rest)


def rounded(estimate: Estimate) -> dict[str, float]:
    """The estimate as it is written into files of results."""
    return {name: round(value, 5) for name, value in vars(estimate).items()}
