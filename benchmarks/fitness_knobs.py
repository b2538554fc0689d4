"""What settings of the search cost, and how much they change candidates' scores.

Candidates of the supernets of benchmarks/supernets.py are evaluated with each setting and compared with the most
expensive one: seconds a candidate, the mean difference of mAP, the standard deviation of the differences, and Kendall's
tau of the two rankings. The most expensive setting with other images for recalibration shows the size of the noise.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks.command import Keep, Tiny, save
from benchmarks.supernets import load, supernets_folder, train
from detnas.evaluation.metrics.correlation import kendall_tau
from detnas.spaces import Architecture

KNOBS: dict[str, tuple[tuple[str, ...], ...]] = {
    "fpn": ((), *((f"search.proposals={count}",) for count in (300, 100, 30))),
    "retinanet": (
        *((f"search.recalibration_batches={count}",) for count in (500, 100, 20, 5)),
        *((f"search.images={count}",) for count in (100, 50)),
    ),
}
"""Changes to the recipe by detector; the most expensive come first."""


def evaluate(
    kind: str, runs: Path, changes: tuple[str, ...], candidates: Sequence[Architecture], seed: int = 1
) -> tuple[NDArray[np.float64], float]:
    """The candidates' mAP, and the seconds that one takes."""
    evaluator = load(kind, runs, *changes).evaluator(seed)
    evaluator.prefixes.room = 0  # random candidates have less in common than those of a search
    began = time.perf_counter()
    scores = [evaluator(candidate)["mAP"] for candidate in candidates]
    return np.array(scores, np.float64), (time.perf_counter() - began) / len(candidates)


def compare(scores: NDArray[np.float64], reference: NDArray[np.float64]) -> dict[str, float]:
    difference = scores - reference
    return {
        "mean difference of mAP": round(float(difference.mean()), 4),
        "standard deviation of the difference": round(float(difference.std(ddof=1)), 4),
        "Kendall's tau": round(kendall_tau(scores, reference), 3),
    }


def measure(kind: str, runs: Path, settings: Sequence[tuple[str, ...]], count: int) -> dict[str, Any]:
    candidates = load(kind, runs).draw(count)
    reference, slowest = evaluate(kind, runs, settings[0], candidates)
    rows: dict[str, Any] = {name_of(settings[0]): {"seconds": round(slowest, 3)}}
    for changes, seed in ((settings[0], 2), *((changes, 1) for changes in settings[1:])):
        scores, seconds = evaluate(kind, runs, changes, candidates, seed)
        name = f"{name_of(changes)}, other images" if seed == 2 else name_of(changes)
        rows[name] = {"seconds": round(seconds, 3), **compare(scores, reference)}
        print(f"  {name}: {rows[name]}", flush=True)
    return {"standard deviation of mAP between candidates": round(float(reference.std(ddof=1)), 4), "rows": rows}


def name_of(changes: tuple[str, ...]) -> str:
    return ", ".join(change.removeprefix("search.") for change in changes) or "the detector's own proposals"


def main(keep: Keep = None, tiny: Tiny = False) -> None:
    """Measure settings of the search, in ten minutes on two idle cores; write benchmarks/results/fitness_knobs.json."""
    count = 4 if tiny else 8
    found: dict[str, Any] = {"candidates": count}
    with supernets_folder(keep) as runs:
        for kind, settings in KNOBS.items():
            train(kind, runs, tiny)
            print(kind, flush=True)
            found[kind] = measure(kind, runs, settings, count)
    save("fitness_knobs", found, tiny)


if __name__ == "__main__":
    typer.run(main)
