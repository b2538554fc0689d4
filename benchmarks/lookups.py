"""How many cost look-ups a second one process makes: python -m benchmarks.lookups writes benchmarks/results/lookups.json."""

import time
from pathlib import Path

import numpy as np

from benchmarks.machine import machine
from detnas.spaces import Budget, BudgetSampler, search_space
from detnas.utils.files import write_json


def main() -> None:
    rates = {}
    for name in ("tiny", "small", "large"):
        space = search_space(name)
        table = space.cost_table()
        sampler = BudgetSampler(space, Budget())
        rng = np.random.default_rng(0)
        architectures = [sampler.sample(rng) for _ in range(1000)]
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
    write_json(Path(__file__).parent / "results" / "lookups.json", {"machine": machine(), "rates": rates})


if __name__ == "__main__":
    main()
