"""What FPN's supernets can tell of the comparison's networks. Writes bench/results/fpn_ranking.json.

    python bench/fpn_ranking.py [--tiny]

All networks that bench/comparison.py has trained alone with FPN are judged, on the whole search split, by supernets of
two seeds, fine-tuned for as many steps as those of the comparison or fewer. Kendall's tau is taken with the mean mAP of
the networks trained alone, and between the two supernets. A supernet with its networks takes up to seven minutes on one
core.
"""

import sys
from statistics import fmean, pstdev

import numpy as np
from comparison import AT_EQUAL_FLOPS
from evidence import (
    RESULTS,
    RUNS,
    TINY,
    TRAININGS,
    Row,
    alone_at,
    data_folder,
    recipe_of,
    supernet_changes,
    supernet_folder,
    take_stage,
)
from machine import machine
from ranking_quality import by_own_statistics, fitness

from detnas.files import read_json, write_json
from detnas.metrics.correlation import kendall_tau
from detnas.pipeline import run
from detnas.progress import Progress
from detnas.running import open_run
from detnas.spaces import Architecture

SEEDS = (1, 2)
STEPS = (4,) if TINY else (450, 900, 1600)
"""Of the supernet's fine-tuning; the last of them are the comparison's."""


def judged(steps: int, seed: int, networks: list[str]) -> list[float]:
    """The fitness of networks by a supernet, which is trained unless it is; waits for who is at it."""
    unit = f"fpn-ranking-{steps}-seed{seed}"
    file = RUNS / "ranking" / f"{unit}.json"
    changes = (*supernet_changes("uniform"), "search.pictures=null", f"supernet_finetune.steps={steps}")
    recipe = recipe_of("fpn", seed, changes)
    with alone_at(unit):
        known: Row = read_json(file) if file.exists() else {}
        if known.keys() != set(networks):
            run(recipe, RUNS / unit, data_folder(), stages=())
            for stage in TRAININGS if steps == STEPS[-1] else TRAININGS[:1]:
                take_stage(stage, supernet_folder("uniform", "fpn", seed), RUNS / unit)
            run(recipe, RUNS / unit, data_folder(), progress=Progress(), stages=TRAININGS)
            with open_run(recipe, RUNS / unit, data_folder(), Progress()) as opened:
                judging = fitness(opened, recipe.search.recalibration_batches)
                known = {one: by_own_statistics(judging, Architecture.parse(one)) for one in networks}
            write_json(file, known)
    return [known[one] for one in networks]


def main() -> None:
    if not AT_EQUAL_FLOPS.file.exists():
        sys.exit(f"{AT_EQUAL_FLOPS.file} is missing: bench/comparison.py comes first")
    trained: dict[str, list[float]] = {}
    for rows in read_json(AT_EQUAL_FLOPS.file)["networks"]["fpn"].values():
        for row in rows:
            trained.setdefault(row["architecture"], []).append(row["mAP"])
    truth = np.array([fmean(scores) for scores in trained.values()])
    rows = []
    for steps in STEPS:
        each = np.array([judged(steps, seed, list(trained)) for seed in SEEDS])
        rows.append(
            {
                "steps": steps,
                "fitness": [round(fmean(of), 4) for of in each.tolist()],
                "standard deviation between networks": [round(pstdev(of), 4) for of in each.tolist()],
                "tau with networks trained alone": [round(kendall_tau(of, truth), 2) for of in each],
                "tau of one supernet with the other": round(kendall_tau(*each), 2),
            }
        )
        print(rows[-1], flush=True)
    write_json(RESULTS / "fpn_ranking.json", {"machine": machine(), "networks": len(trained), "rows": rows})


if __name__ == "__main__":
    main()
