"""The small benchmark: what architectures are worth that are trained standalone. Writes research/results/architectures.json.

    python -m research architectures [--only-first N] [--summary] [--tiny]

Trains 48 architectures of `tiny` within the demo's budget, each with two seeds, on the data and by the schedule that
research/workspace.py has; the first eight are spread over the space by themselves. One to two minutes a training on one
core. What is done is summed up at the end, or at once with `--summary`: what tells architectures apart, beside
what tells seeds apart.
"""

import statistics
import sys
from contextlib import ExitStack
from math import asin, inf, pi

import numpy as np

from benchmarks.machine import machine
from detnas.evaluation.metrics.correlation import kendall_tau
from detnas.run.ranking import lock_file, train_standalone
from detnas.spaces import Architecture
from detnas.utils.files import read_json, try_lock_file, write_json
from research.workspace import (
    CHANGES,
    RESULTS,
    SEEDS,
    Row,
    alone_folder,
    architectures,
    finished,
    networks_alone,
    number_after,
    recorded,
)

FILE = RESULTS / "architectures.json"


def train(chosen: list[Architecture]) -> None:
    chosen = [one for one in chosen if row(one) is None]
    with ExitStack() as stack:
        runs = [stack.enter_context(networks_alone("retinanet", seed)) for seed in SEEDS]
        for place, architecture in enumerate(chosen, start=1):
            for run in runs:
                with try_lock_file(lock_file(run, architecture)) as mine:
                    if mine:
                        run.progress.log(f"[{place}/{len(chosen)}] {architecture}, seed {run.recipe.seed}")
                        train_standalone(run, architecture)


def row(architecture: Architecture) -> Row | None:
    """What is known of an architecture, if it is trained with all seeds, here or where the file was written."""
    runs = [alone_folder("retinanet", seed) for seed in SEEDS]
    found = [finished(run, architecture) for run in runs]
    if not all(found):
        known = recorded(FILE, changes=list(CHANGES), seeds=list(SEEDS)).get("networks", [])
        return next((one for one in known if one["architecture"] == str(architecture)), None)
    return {
        **{key: found[0][key] for key in ("architecture", "macs", "params")},
        **{key: [one[key] for one in found] for key in ("mAP", "AP50", "seconds")},
    }


def told_apart(scores: list[list[float]]) -> dict[str, float]:
    """Standard deviations of (architectures, seeds) scores: between architectures, of their means, and between seeds.

    A perfect ranking has no tau of 1 with the means, in which noise is left: what it has follows, for normal
    deviates, from the correlation of the means with what architectures are worth.
    """
    between = statistics.stdev(map(statistics.mean, scores))
    within = statistics.mean(map(statistics.variance, scores)) ** 0.5
    first, second = np.array(scores).T[:2]
    reliability = max(0.0, 1 - (within / between) ** 2 / len(scores[0])) if between else 0.0
    return {
        "standard deviation between architectures": round(between, 5),
        "standard deviation between seeds": round(within, 5),
        "ratio": round(between / within, 3) if within else inf,
        "Kendall's tau of one seed with the other": round(kendall_tau(first, second), 3),
        "Kendall's tau of a perfect ranking": round(2 / pi * asin(reliability**0.5), 3),
    }


def tried_before() -> list[Row]:
    """What other data and schedules told apart, in the order in which they were given up."""
    if not FILE.exists():
        return []
    latest = read_json(FILE)
    given_up: list[Row] = latest["tried before"]
    if latest["changes"] != list(CHANGES):
        trial = {**{key: latest[key] for key in ("changes", "told apart")}, "networks": len(latest["networks"])}
        given_up.append(trial)
    return given_up


def main() -> None:
    chosen = architectures()[: number_after("--only-first")]
    if "--summary" not in sys.argv:
        train(chosen)
    rows = [found for one in chosen if (found := row(one)) is not None]
    print(f"{len(rows)} of {len(chosen)} architectures are done")
    if len(rows) < 3:
        return
    figures = {score: told_apart([found[score] for found in rows]) for score in ("mAP", "AP50")}
    print(figures)
    write_json(
        FILE,
        {
            "recipe": "shapes-quick",
            "changes": list(CHANGES),
            "machine": machine(),
            "seeds": list(SEEDS),
            "told apart": figures,
            "networks": rows,
            "tried before": tried_before(),
        },
    )


if __name__ == "__main__":
    main()
