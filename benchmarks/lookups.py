"""How many cost look-ups and draws within a budget one process makes a second."""

import time

import numpy as np
import typer

from benchmarks.command import save
from detnas.spaces import Budget, BudgetSampler, search_space


def main() -> None:
    """Measure cost look-ups and draws of architectures; write benchmarks/results/lookups.json. Takes seconds."""
    rates = {}
    for name in ("tiny", "small", "large"):
        space = search_space(name)
        table = space.cost_table()
        sampler = BudgetSampler(space, Budget())
        rng = np.random.default_rng(0)
        architectures = [one for _ in range(1000) if (one := sampler.sample(rng)) is not None]
        began = time.perf_counter()
        for _ in range(50):
            for architecture in architectures:
                table.cost(architecture.ops)
        looked_up = time.perf_counter() - began
        began = time.perf_counter()
        for _ in range(1000):
            sampler.sample(rng)
        drawn = time.perf_counter() - began
        rates[name] = {"look-ups a second": round(50_000 / looked_up), "draws a second": round(1000 / drawn)}
    save("lookups", {"rates": rates})


if __name__ == "__main__":
    typer.run(main)
