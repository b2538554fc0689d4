"""What supernets can tell of networks of equal MACs. Writes research/results/equal_macs_ranking.json.

    python -m research equal-macs-ranking [--tiny]

All networks that research/comparison.py has trained standalone with a detector are judged, on the whole search split, by
supernets of two seeds, fine-tuned for as many steps as those of the comparison, and with FPN for fewer. Kendall's tau
is taken with the mean mAP of the networks trained standalone, and between the two supernets. With its networks a supernet
takes up to seven minutes on one core.
"""

from statistics import fmean, pstdev

import numpy as np

from benchmarks.machine import machine
from detnas.evaluation.metrics.correlation import kendall_tau
from detnas.run.context import open_run
from detnas.run.pipeline import run
from detnas.spaces import Architecture
from detnas.utils.files import read_json, write_json
from detnas.utils.progress import Progress
from research.comparison import AT_EQUAL_MACS
from research.ranking_quality import by_own_statistics, fitness
from research.workspace import (
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

SEEDS = {"retinanet": (9, 10), "fpn": (1, 2)}
COMPARED = 4 if TINY else 1600
"""Steps that the comparison's supernets are fine-tuned for."""
STEPS = dict.fromkeys(SEEDS, (COMPARED,)) if TINY else {"retinanet": (COMPARED,), "fpn": (450, 900, COMPARED)}


def judged(detector: str, steps: int, seed: int, networks: list[str]) -> list[float]:
    """The fitness of networks by a supernet, which is trained unless it is; waits for who is at it."""
    unit = f"{detector}-ranking-{steps}-seed{seed}"
    file = RUNS / "ranking" / f"{unit}.json"
    changes = (*supernet_changes("uniform"), "search.images=null", f"supernet_finetune.steps={steps}")
    recipe = recipe_of(detector, seed, changes)
    with alone_at(unit):
        known: Row = read_json(file) if file.exists() else {}
        left = [one for one in networks if one not in known]
        if left:
            run(recipe, RUNS / unit, data_folder(), stages=())
            for stage in TRAININGS if steps == COMPARED else TRAININGS[:1]:
                take_stage(stage, supernet_folder("uniform", detector, seed), RUNS / unit)
            run(recipe, RUNS / unit, data_folder(), progress=Progress(), stages=TRAININGS)
            with open_run(recipe, RUNS / unit, data_folder(), Progress()) as opened:
                judging = fitness(opened, recipe.search.recalibration_batches)
                known |= {one: by_own_statistics(judging, Architecture.parse(one)) for one in left}
            write_json(file, known)
    return [known[one] for one in networks]


def ranking(detector: str, trained: dict[str, float], steps: int) -> Row:
    """How supernets of so many steps rank networks, given the mean mAP of each, trained standalone."""
    truth = np.array([*trained.values()])
    each = np.array([judged(detector, steps, seed, list(trained)) for seed in SEEDS[detector]])
    return {
        "detector": detector,
        "networks": len(trained),
        "steps": steps,
        "fitness": [round(fmean(of), 4) for of in each.tolist()],
        "standard deviation between networks": [round(pstdev(of), 4) for of in each.tolist()],
        "tau with networks trained standalone": [round(kendall_tau(of, truth), 2) for of in each],
        "tau of one supernet with the other": round(kendall_tau(*each), 2),
    }


def main() -> None:
    rows = []
    for detector, each in STEPS.items():
        for steps in each:
            rows.append(ranking(detector, AT_EQUAL_MACS.trained(detector), steps))
            print(rows[-1], flush=True)
    write_json(RESULTS / "equal_macs_ranking.json", {"machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
