"""How well supernets rank networks of equal MACs.

All networks that `python -m research comparison` has trained standalone with a detector are evaluated, on the whole
search split, by supernets of two seeds, fine-tuned for as many steps as those of the comparison, and with FPN for fewer
too. Kendall's tau is taken with the mean mAP of the networks trained standalone, and between the two supernets. A
supernet with its networks takes up to seven minutes on one core.
"""

from statistics import fmean, pstdev

import numpy as np

from benchmarks.command import machine
from detnas.evaluation.metrics.correlation import kendall_tau
from detnas.run.opening import open_run
from detnas.run.pipeline import run
from detnas.spaces import Architecture
from detnas.utils.files import read_json, write_json
from detnas.utils.progress import Progress
from research.comparison import at_equal_macs
from research.ranking_quality import load_evaluator, recalibrated_score
from research.workspace import TRAININGS, Row, Tiny, Workspace, supernet_changes

SEEDS = {"retinanet": (9, 10), "fpn": (1, 2)}


def steps_of(workspace: Workspace, detector: str) -> tuple[int, ...]:
    """How long supernets are fine-tuned; those of the comparison for the last number of steps."""
    if workspace.tiny:
        return (4,)
    return (1600,) if detector == "retinanet" else (450, 900, 1600)


def evaluate(workspace: Workspace, detector: str, steps: int, seed: int, networks: list[str]) -> list[float]:
    """The fitness of networks by a supernet, which is trained unless that is done."""
    unit = f"{detector}-ranking-{steps}-seed{seed}"
    folder, file = workspace.runs / unit, workspace.runs / "ranking" / f"{unit}.json"
    changes = (*supernet_changes("uniform"), "search.images=null", f"supernet_finetune.steps={steps}")
    recipe = workspace.recipe(detector, seed, changes)
    with workspace.lock(unit):
        known: Row = read_json(file) if file.exists() else {}
        if left := [one for one in networks if one not in known]:
            data = workspace.data()
            run(recipe, folder, data, stages=())
            compared = steps == steps_of(workspace, detector)[-1]
            for stage in TRAININGS if compared else TRAININGS[:1]:
                workspace.take_stage(stage, workspace.supernet_folder("uniform", detector, seed), folder)
            run(recipe, folder, data, progress=Progress(), stages=TRAININGS)
            with open_run(recipe, folder, data, Progress()) as opened:
                evaluator = load_evaluator(opened, recipe.search.recalibration_batches)
                known |= {one: recalibrated_score(evaluator, Architecture.parse(one)) for one in left}
            write_json(file, known)
    return [known[one] for one in networks]


def ranking(workspace: Workspace, detector: str, trained: dict[str, float], steps: int) -> Row:
    """How supernets of so many steps rank networks, given the mean mAP of each, trained standalone."""
    truth = np.array([*trained.values()])
    each = np.array([evaluate(workspace, detector, steps, seed, list(trained)) for seed in SEEDS[detector]])
    return {
        "detector": detector,
        "networks": len(trained),
        "steps": steps,
        "fitness": [round(fmean(of), 4) for of in each.tolist()],
        "standard deviation between networks": [round(pstdev(of), 4) for of in each.tolist()],
        "tau with networks trained standalone": [round(kendall_tau(of, truth), 2) for of in each],
        "tau of one supernet with the other": round(kendall_tau(*each), 2),
    }


def main(tiny: Tiny = False) -> None:
    """Rank the networks of `comparison`, which comes first. Writes research/results/equal_macs_ranking.json."""
    workspace = Workspace(tiny)
    rows = []
    for detector in SEEDS:
        trained = at_equal_macs(workspace).mean_scores(detector)
        for steps in steps_of(workspace, detector):
            rows.append(ranking(workspace, detector, trained, steps))
            print(rows[-1], flush=True)
    write_json(workspace.results("equal_macs_ranking"), {"machine": machine(), "rows": rows})
