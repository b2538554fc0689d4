"""Compares the latencies of whole networks with the sums over their blocks in a table."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from detnas.evaluation.metrics.correlation import Values, kendall_tau, spearman_rho
from detnas.spaces import Architecture, Budget, BudgetSampler, SearchSpace
from detnas.utils.seeds import derive_seed

NUM_ARCHITECTURES = 12
"""Of all sizes of the input."""


@dataclass(frozen=True)
class LatencyCheck:
    """Architectures with their predicted latencies (by the table) and measured ones, both (N,) in microseconds."""

    architectures: list[Architecture]
    predicted: Values
    measured: Values

    def __add__(self, other: "LatencyCheck") -> "LatencyCheck":
        predicted, measured = ([*getattr(self, name), *getattr(other, name)] for name in ("predicted", "measured"))
        return LatencyCheck([*self.architectures, *other.architectures], np.array(predicted), np.array(measured))

    def statistics(self) -> dict[str, Any]:
        """JSON-serializable, for the file of the table. `factor` is the one of all predictions that fits best."""
        factor = float(np.exp(np.mean(np.log(self.measured / self.predicted))))  # the geometric mean
        errors, fitted = (np.abs(scale * self.predicted / self.measured - 1) for scale in (1.0, factor))
        networks = zip(self.architectures, self.predicted.tolist(), self.measured.tolist(), strict=True)
        return {
            "mean error": float(errors.mean()),
            "largest error": float(errors.max()),
            "factor": factor,
            "mean error with the factor": float(fitted.mean()),
            "largest error with the factor": float(fitted.max()),
            "kendall tau": kendall_tau(self.predicted, self.measured),
            "spearman rho": spearman_rho(self.predicted, self.measured),
            "networks": [
                {"architecture": str(architecture), "predicted_ms": predicted / 1e3, "measured_ms": measured / 1e3}
                for architecture, predicted, measured in networks
            ],
        }

    def describe(self) -> list[str]:
        """Human-readable lines."""
        found = self.statistics()
        low, high = self.measured.min() / 1e3, self.measured.max() / 1e3
        return [
            f"check: {len(self.architectures)} whole networks of {low:.3g} to {high:.3g} ms and their sums: error "
            f"{found['mean error']:.1%} on average, {found['largest error']:.1%} at most; Kendall's tau "
            f"{found['kendall tau']:.2f}, Spearman's rho {found['spearman rho']:.2f}",
            f"whole networks take {found['factor']:.3f} times their sums; with this factor the error would be "
            f"{found['mean error with the factor']:.1%} on average, {found['largest error with the factor']:.1%} at "
            "most (the table is kept as measured)",
        ]


def select_architectures(space: SearchSpace, budget: Budget, number: int) -> list[Architecture]:
    """Up to `number` architectures, one from each of as many equal intervals of the latencies by the tables of a budget
    without bounds. The space has at most one resolution."""
    rng = np.random.default_rng(derive_seed(0, "latency check"))
    selected: list[Architecture] = []
    for sampler in BudgetSampler(space, budget).intervals("latency", number):
        if (architecture := sampler.sample(rng, frozenset(selected))) is not None:
            selected.append(architecture)
    return selected
