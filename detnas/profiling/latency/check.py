"""Whether the sum over blocks says what whole networks take."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from detnas.evaluation.metrics.correlation import Scores, kendall_tau, spearman_rho
from detnas.spaces import Architecture, Budget, BudgetSampler, LatencyTable, SearchSpace
from detnas.utils.errors import UserError
from detnas.utils.seeds import derive_seed

NETWORKS = 12


@dataclass(frozen=True)
class Check:
    """Networks, and what each takes by the table and as a whole, both (N,) in microseconds."""

    architectures: list[Architecture]
    predicted: Scores
    measured: Scores

    @property
    def factor(self) -> float:
        """The one factor on all predictions that fits best (the geometric mean of measured by predicted)."""
        return float(np.exp(np.mean(np.log(self.measured / self.predicted))))

    def errors(self, factor: float = 1.0) -> Scores:
        """(N,) of predictions times `factor`, relative to what was measured."""
        found: Scores = np.abs(factor * self.predicted / self.measured - 1)
        return found

    def figures(self) -> dict[str, Any]:
        """As files keep it."""
        errors, fitted = self.errors(), self.errors(self.factor)
        return {
            "mean error": float(errors.mean()),
            "largest error": float(errors.max()),
            "factor": self.factor,
            "mean error with the factor": float(fitted.mean()),
            "largest error with the factor": float(fitted.max()),
            "kendall tau": kendall_tau(self.predicted, self.measured),
            "spearman rho": spearman_rho(self.predicted, self.measured),
            "networks": [
                {"architecture": str(architecture), "predicted_ms": predicted / 1e3, "measured_ms": measured / 1e3}
                for architecture, predicted, measured in zip(
                    self.architectures, self.predicted.tolist(), self.measured.tolist(), strict=True
                )
            ],
        }

    def lines(self) -> list[str]:
        """For people."""
        found = self.figures()
        low, high = self.measured.min() / 1e3, self.measured.max() / 1e3
        return [
            f"check: {len(self.architectures)} whole networks of {low:.3g} to {high:.3g} ms against their sums: error "
            f"{found['mean error']:.1%} in the mean, {found['largest error']:.1%} at most; Kendall's tau "
            f"{found['kendall tau']:.2f}, Spearman's rho {found['spearman rho']:.2f}",
            f"whole networks take {self.factor:.3f} times their sums; with this factor the error would be "
            f"{found['mean error with the factor']:.1%} in the mean, {found['largest error with the factor']:.1%} at "
            "most (the table is kept as measured)",
        ]


def spread(space: SearchSpace, table: LatencyTable) -> list[Architecture]:
    """Up to `NETWORKS` architectures, one from each of as many equal parts of the space's range of latencies."""
    edges = np.linspace(*space.cost_table(latencies=table).extent("latency"), NETWORKS + 1).tolist()
    rng = np.random.default_rng(derive_seed(0, "latency check"))
    chosen: list[Architecture] = []
    for least, most in pairwise(edges):
        try:
            sampler = BudgetSampler(space, Budget(latency=(least, most), latencies=table))
        except UserError:
            continue  # no architecture is in this part
        architecture = sampler.sample(rng, frozenset(chosen))
        if architecture is not None:
            chosen.append(architecture)
    return chosen
