"""How well one score ranks networks, measured against another score that is taken as the truth."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from detnas.utils.estimate import Estimate
from detnas.utils.seeds import derive_seed

Values = NDArray[np.float64]


def kendall_tau(scores: Values, truth: Values) -> float:
    """Kendall's tau-b of two (N,) arrays, from -1 to 1: concordant pairs less discordant pairs, normalized.

    Ties count as neither, and reduce the normalizer (Kendall 1945). NaN if all scores or all truths are equal.
    """
    upper = np.triu_indices(len(scores), k=1)
    ours = np.sign(np.subtract.outer(scores, scores))[upper]
    theirs = np.sign(np.subtract.outer(truth, truth))[upper]
    norm = np.sqrt(np.count_nonzero(ours) * np.count_nonzero(theirs))
    return float(np.sum(ours * theirs) / norm) if norm else float("nan")


def spearman_rho(scores: Values, truth: Values) -> float:
    """Spearman's rho of two (N,) arrays, -1 to 1: ties have their mean rank; NaN if all of either are equal."""
    first, second = _ranks(scores), _ranks(truth)
    norm = first.std() * second.std()
    return float(((first - first.mean()) * (second - second.mean())).mean() / norm) if norm else float("nan")


def regret(scores: Values, truth: Values, top: int = 1) -> float:
    """The loss from trusting the scores: the best truth of all, less the best truth of the `top` highest scores."""
    chosen = np.argsort(-scores, kind="stable")[:top]
    return float(truth.max() - truth[chosen].max())


def with_interval(
    statistic: Callable[[Values, Values], float], scores: Values, truth: Values, draws: int = 2000
) -> Estimate:
    """A statistic of two (N,) arrays with its 95 % interval by the percentile bootstrap over the networks."""
    rng = np.random.default_rng(derive_seed(0, "bootstrap"))
    values = [statistic(scores[rows], truth[rows]) for rows in rng.integers(len(scores), size=(draws, len(scores)))]
    finite = [value for value in values if value == value]  # NaN for a draw of equal networks only
    low, high = np.quantile(finite, (0.025, 0.975)) if finite else (float("nan"), float("nan"))
    return Estimate(statistic(scores, truth), float(low), float(high))


def _ranks(values: Values) -> Values:
    """Ranks from 1, (N,); equal values have the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    means: Values = (last - (counts - 1) / 2)[place]
    return means
