"""What the search's knobs cost and risk: python -m benchmarks.fitness_knobs writes benchmarks/results/fitness_knobs.json.

Some candidates of the supernets of benchmarks/fitness.py are judged with each setting, beside the most expensive one: seconds a
candidate, the mean difference of mAP, how the rest of the differences scatters, and Kendall's tau of the two rankings.
Other images for recalibration show what noise alone does. With `--keep FOLDER` the supernets stay
there for the next time; with `--tiny` it is a quick trial that prints only. About ten minutes on two quiet cores,
three of them for the supernets.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine
from benchmarks.supernets import TINY, load, supernets_folder, train
from detnas.evaluation.metrics.correlation import kendall_tau
from detnas.spaces import Architecture, BudgetSampler
from detnas.utils.files import write_json

CANDIDATES = 4 if TINY else 8
KNOBS = {
    "fpn": ((), *((f"search.proposals={count}",) for count in (300, 100, 30))),
    "retinanet": (
        *((f"search.recalibration_batches={count}",) for count in (500, 100, 20, 5)),
        *((f"search.images={count}",) for count in (100, 50)),
    ),
}
"""By detector, changes to the recipe; the first are the most expensive."""


def judged(
    kind: str, runs: Path, changes: tuple[str, ...], candidates: list[Architecture], seed: int = 1
) -> tuple[NDArray[np.float64], float]:
    """The candidates' mAP, and seconds a candidate."""
    fitness = load(kind, runs, *changes).fitness(seed)
    fitness.prefixes.room = 0  # candidates at random share less than those of a search
    began = time.perf_counter()
    scores = [fitness(candidate).scores["mAP"] for candidate in candidates]
    return np.array(scores), (time.perf_counter() - began) / len(candidates)


def compared(scores: NDArray[np.float64], reference: NDArray[np.float64]) -> dict[str, float]:
    difference = scores - reference
    return {
        "mean difference of mAP": round(float(difference.mean()), 4),
        "standard deviation of the difference": round(float(difference.std(ddof=1)), 4),
        "Kendall's tau": round(kendall_tau(scores, reference), 3),
    }


def knob(kind: str, runs: Path, settings: Sequence[tuple[str, ...]]) -> dict[str, Any]:
    recipe = load(kind, runs).recipe
    sampler = BudgetSampler(recipe.search_space(), recipe.cost_budget())
    rng = np.random.default_rng(0)
    candidates = [one for _ in range(CANDIDATES) if (one := sampler.sample(rng)) is not None]
    reference, slowest = judged(kind, runs, settings[0], candidates)
    rows: dict[str, Any] = {name_of(settings[0]): {"seconds": round(slowest, 3)}}
    for changes, seed in ((settings[0], 2), *((changes, 1) for changes in settings[1:])):
        scores, seconds = judged(kind, runs, changes, candidates, seed)
        name = f"{name_of(changes)}, other images" if seed == 2 else name_of(changes)
        rows[name] = {"seconds": round(seconds, 3), **compared(scores, reference)}
        print(f"  {name}: {rows[name]}", flush=True)
    return {"standard deviation of mAP between candidates": round(float(reference.std(ddof=1)), 4), "rows": rows}


def name_of(changes: tuple[str, ...]) -> str:
    return ", ".join(change.removeprefix("search.") for change in changes) or "the detector's own proposals"


def main() -> None:
    found: dict[str, Any] = {"machine": machine(), "candidates": CANDIDATES}
    with supernets_folder() as runs:
        for kind, settings in KNOBS.items():
            train(kind, runs)
            print(kind, flush=True)
            found[kind] = knob(kind, runs, settings)
    if not TINY:
        write_json(Path(__file__).parent / "results" / "fitness_knobs.json", found)


if __name__ == "__main__":
    main()
