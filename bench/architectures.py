"""The small benchmark: what architectures are worth that are trained alone. Writes bench/results/architectures.json.

    python bench/architectures.py [--only-first N] [--summary] [--tiny]

Trains 48 architectures of `tiny` within the demo's budget, each with two seeds, on the data and by the schedule that
bench/evidence.py has; the first eight are spread over the space by themselves. About two minutes a training on one
core, in runs/evidence/alone-seed*. Start it once a core (`OMP_NUM_THREADS=1`), kill it whenever you like. What is done
is summed up at the end, or at once with `--summary`: what tells architectures apart, beside what tells seeds apart.
"""

import statistics
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from evidence import CHANGES, RESULTS, RUNS, SEEDS, architectures, data_folder, number_after, recipe_of
from machine import machine

from detnas.files import held, read_json, write_json
from detnas.metrics.correlation import kendall_tau
from detnas.pipeline import EVALUATION
from detnas.progress import Progress
from detnas.ranking import lock_file, train_alone
from detnas.running import open_run
from detnas.spaces import Architecture
from detnas.training.checkpoints import DONE

FILE = RESULTS / "architectures.json"


def folder(seed: int) -> Path:
    return RUNS / f"alone-seed{seed}"


def train(chosen: list[Architecture]) -> None:
    with ExitStack() as stack:
        data, progress = data_folder(), Progress()
        runs = [
            stack.enter_context(open_run(recipe_of(seed=seed), folder(seed), data, progress, hold="shared"))
            for seed in SEEDS
        ]
        for place, architecture in enumerate(chosen, start=1):
            for run in runs:
                with held(lock_file(run, architecture)) as mine:
                    if mine:
                        progress.say(f"[{place}/{len(chosen)}] {architecture}, seed {run.recipe.seed}")
                        train_alone(run, architecture)


def row(architecture: Architecture) -> dict[str, Any] | None:
    """What is known of an architecture, if it is trained with all seeds."""
    ends = [folder(seed) / "finetune" / architecture.hyphenated / EVALUATION for seed in SEEDS]
    if not all(end.exists() for end in ends):
        return None
    found = [read_json(end) for end in ends]
    return {
        "architecture": str(architecture),
        "flops": found[0]["flops"],
        "params": found[0]["params"],
        **{score: [round(one["scores"][score], 5) for one in found] for score in ("mAP", "AP50")},
        "seconds": [round(seconds(seed, architecture), 1) for seed in SEEDS],
    }


def seconds(seed: int, architecture: Architecture) -> float:
    """Of both trainings."""
    stages = (folder(seed) / stage / architecture.hyphenated / DONE for stage in ("pretrain", "finetune"))
    return float(sum(read_json(done)["seconds"] for done in stages))


def told_apart(scores: list[list[float]]) -> dict[str, float]:
    """Standard deviations of (architectures, seeds) scores: between architectures, of their means, and between seeds.

    The tau of one seed with the other is what a ranking could reach at most against one seed.
    """
    between = statistics.stdev(map(statistics.mean, scores))
    within = statistics.mean(map(statistics.variance, scores)) ** 0.5
    first, second = np.array(scores).T[:2]
    return {
        "standard deviation between architectures": round(between, 5),
        "standard deviation between seeds": round(within, 5),
        "ratio": round(between / within, 3),
        "Kendall's tau of one seed with the other": round(kendall_tau(first, second), 3),
    }


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
        },
    )


if __name__ == "__main__":
    main()
