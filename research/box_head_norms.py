"""Which statistics a box head's norms should have: research/box_head_norms.py writes research/results/box_head_norms.json.

Candidates of the `fpn` supernet of benchmarks/fitness.py are judged on the same proposals and images, with statistics

* of training passes on sampled RoIs as in the official code, by two seeds: their mean is the reference, their
  difference its noise;
* of as many such passes as the search's recalibration has, averaged plainly;
* of the supernet's training, which `recalibrate` keeps;
* of evaluation passes: of all proposals that are judged, or of the best 100 or 30.

Seconds are those of a processor for one recalibration. With `--keep FOLDER` the supernet stays there for the next
time; with `--tiny` it is a quick trial that prints only. About ten minutes on two quiet cores.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.fitness_knobs import compared
from benchmarks.machine import machine
from benchmarks.official import MOMENTUM
from benchmarks.official import recalibrate as recalibrate_by_training_passes
from benchmarks.supernets import TINY, Trained, load, supernets_folder, train
from detnas.models.detectors.build import Detector
from detnas.models.supernet import extract_subnet
from detnas.search.evaluators.detection import DetectionEvaluator
from detnas.search.evaluators.recalibration import recalibrate
from detnas.spaces import Architecture, BudgetSampler
from detnas.utils.files import write_json

JUDGED = {20: 2} if TINY else {300: 6, 1000: 2}
"""Proposals that are judged, and by how many candidates."""
OFFICIAL_BATCHES = 2 if TINY else 150
"""By an average with a momentum of 0.1 earlier ones hardly count."""
REFERENCE = ("training passes, seed 0", "training passes, seed 1")
Way = Callable[[Architecture], Detector]
"""Gives a candidate with its statistics."""


@torch.no_grad()
def by_evaluation_passes(candidate: Detector, calibration: Any, proposals: int) -> None:
    """Every norm's statistics, the box head's of the best `proposals` of each image."""
    with_proposals(candidate.eval(), proposals)
    for module in candidate.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train().reset_running_stats()
            module.momentum = None
    for batch in calibration:
        candidate(batch)


def with_proposals(detector: Detector, count: int) -> None:
    detector.rpn._post_nms_top_n["testing"] = count


def ways(trained: Trained, other: Trained, fitness: DetectionEvaluator, proposals: int) -> dict[str, Way]:
    """`other` is the same supernet once more: training passes change its statistics."""

    def training_passes(seed: int, count: int, momentum: float | None) -> Way:
        def way(architecture: Architecture) -> Detector:
            recalibrate_by_training_passes(other, architecture, seed, count, momentum)
            return extract_subnet(other.supernet, architecture)

        return way

    def kept(architecture: Architecture) -> Detector:
        candidate = extract_subnet(trained.supernet, architecture)
        recalibrate(candidate, fitness.calibration)
        return candidate

    def evaluation_passes(count: int) -> Way:
        def way(architecture: Architecture) -> Detector:
            candidate = extract_subnet(trained.supernet, architecture)
            by_evaluation_passes(candidate, fitness.calibration, count)
            return candidate

        return way

    batches = trained.recipe.search.recalibration_batches
    return {
        **{name: training_passes(seed, OFFICIAL_BATCHES, MOMENTUM) for seed, name in enumerate(REFERENCE)},
        f"{batches} training passes, averaged": training_passes(0, batches, None),
        "kept from the supernet's training": kept,
        "evaluation passes, all proposals": evaluation_passes(proposals),
        "evaluation passes, best 100": evaluation_passes(100),
        "evaluation passes, best 30": evaluation_passes(30),
    }


def compare(runs: Path, proposals: int, count: int) -> dict[str, Any]:
    changes = (f"search.proposals={proposals}", "search.images=100")
    trained, other = (load("fpn", runs, *changes) for _ in range(2))
    fitness = trained.fitness()
    candidates = some_candidates(trained, count)
    scores: dict[str, list[float]] = {}
    seconds: dict[str, list[float]] = {}
    for architecture in candidates:
        for name, way in ways(trained, other, fitness, proposals).items():
            began = time.process_time()
            candidate = way(architecture)
            seconds.setdefault(name, []).append(time.process_time() - began)
            scores.setdefault(name, []).append(score(candidate, fitness, proposals))
            print(f"  {proposals} {architecture} {name}: {scores[name][-1]:.4f}, {seconds[name][-1]:.1f} s", flush=True)
    reference = np.mean([scores[name] for name in REFERENCE], axis=0)
    return {
        "candidates": [str(architecture) for architecture in candidates],
        "rows": {
            name: {
                "seconds": round(float(np.mean(seconds[name])), 2),
                "mAP": np.round(found, 4).tolist(),
                **compared(np.array(found), reference),
            }
            for name, found in scores.items()
        },
    }


def some_candidates(trained: Trained, count: int) -> list[Architecture]:
    """Two of one op throughout, and random ones within the budget."""
    space = trained.recipe.search_space()
    sampler = BudgetSampler(space, trained.recipe.cost_budget())
    rng = np.random.default_rng(0)
    drawn = [sampler.sample(rng) for _ in range(count - 2)]
    return [*(space.architecture([op] * len(space.blocks)) for op in (0, 3)), *filter(None, drawn)]


def score(candidate: Detector, fitness: DetectionEvaluator, proposals: int) -> float:
    with_proposals(candidate.eval(), proposals)
    value = fitness.evaluation(candidate).scores["mAP"]
    assert value is not None
    return value


def main() -> None:
    found: dict[str, Any] = {"machine": machine(), "training passes": OFFICIAL_BATCHES}
    with supernets_folder() as runs:
        train("fpn", runs)
        for proposals, count in JUDGED.items():
            found[f"{proposals} proposals judged"] = compare(runs, proposals, count)
            print(found[f"{proposals} proposals judged"], flush=True)
            if not TINY:
                write_json(Path(__file__).parent / "results" / "box_head_norms.json", found)


if __name__ == "__main__":
    main()
