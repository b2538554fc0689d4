"""Which statistics a box head's norms should have.

Candidates of the `fpn` supernet of benchmarks/supernets.py are evaluated on the same proposals and images, with
statistics

* of training passes on sampled RoIs as in the official code, with two seeds: their mean is the reference, their
  difference its noise;
* of as many such passes as the search's recalibration has, as plain averages;
* of the supernet's training, which `recalibrate` keeps;
* of evaluation passes on all proposals, or on the best 100 or 30.

Seconds are the processor's time for one recalibration.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import official
from benchmarks.command import Keep, Tiny, machine
from benchmarks.fitness_knobs import compare
from benchmarks.supernets import Trained, load, supernets_folder, train
from detnas.models.detectors.build import Detector
from detnas.models.supernet import extract_subnet
from detnas.search.evaluators.detection import DetectionEvaluator
from detnas.search.evaluators.recalibration import recalibrate
from detnas.spaces import Architecture
from detnas.utils.files import write_json
from research.workspace import RESULTS

PROPOSALS = {300: 6, 1000: 2}
"""Numbers of proposals, and with how many candidates each is measured."""
OFFICIAL_BATCHES = 150
"""In an average with a momentum of 0.1 earlier ones hardly count."""
REFERENCE = ("training passes, seed 0", "training passes, seed 1")
Way = Callable[[Architecture], Detector]
"""Returns a candidate with its statistics."""


@torch.no_grad()
def by_evaluation_passes(candidate: Detector, calibration: Any, proposals: int) -> None:
    """Recalibrate every norm; the box head's on the best `proposals` of each image."""
    with_proposals(candidate.eval(), proposals)
    for module in candidate.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train().reset_running_stats()
            module.momentum = None
    for batch in calibration:
        candidate(batch)


def with_proposals(detector: Detector, count: int) -> None:
    detector.rpn._post_nms_top_n["testing"] = count


def ways(
    trained: Trained, other: Trained, evaluator: DetectionEvaluator, proposals: int, official_batches: int
) -> dict[str, Way]:
    """The ways to recalibrate. `other` is the same supernet once more: training passes change its statistics."""

    def by_training_passes(architecture: Architecture, seed: int, count: int, momentum: float | None) -> Detector:
        official.recalibrate(other, architecture, seed, count, momentum)
        return extract_subnet(other.supernet, architecture)

    def kept(architecture: Architecture) -> Detector:
        candidate = extract_subnet(trained.supernet, architecture)
        recalibrate(candidate, evaluator.calibration)
        return candidate

    def by_evaluation(architecture: Architecture, count: int) -> Detector:
        candidate = extract_subnet(trained.supernet, architecture)
        by_evaluation_passes(candidate, evaluator.calibration, count)
        return candidate

    batches = trained.recipe.search.recalibration_batches
    return {
        **{
            name: partial(by_training_passes, seed=seed, count=official_batches, momentum=official.MOMENTUM)
            for seed, name in enumerate(REFERENCE)
        },
        f"{batches} training passes, averaged": partial(by_training_passes, seed=0, count=batches, momentum=None),
        "kept from the supernet's training": kept,
        "evaluation passes, all proposals": partial(by_evaluation, count=proposals),
        "evaluation passes, best 100": partial(by_evaluation, count=100),
        "evaluation passes, best 30": partial(by_evaluation, count=30),
    }


def measure(runs: Path, proposals: int, count: int, official_batches: int) -> dict[str, Any]:
    trained, other = (load("fpn", runs, f"search.proposals={proposals}", "search.images=100") for _ in range(2))
    evaluator = trained.evaluator()
    space = trained.recipe.search_space()
    of_one_op = [space.architecture([op] * len(space.blocks)) for op in (0, 3)]
    candidates = [*of_one_op, *trained.draw(count - 2)]
    scores: dict[str, list[float]] = {}
    seconds: dict[str, list[float]] = {}
    for architecture in candidates:
        for name, way in ways(trained, other, evaluator, proposals, official_batches).items():
            began = time.process_time()
            candidate = way(architecture)
            seconds.setdefault(name, []).append(time.process_time() - began)
            scores.setdefault(name, []).append(score(candidate, evaluator, proposals))
            print(f"  {proposals} {architecture} {name}: {scores[name][-1]:.4f}, {seconds[name][-1]:.1f} s", flush=True)
    reference = np.mean([scores[name] for name in REFERENCE], axis=0)
    rows = {}
    for name, found in scores.items():
        about = {"seconds": round(float(np.mean(seconds[name])), 2), "mAP": np.round(found, 4).tolist()}
        rows[name] = {**about, **compare(np.array(found), reference)}
    return {"candidates": [str(architecture) for architecture in candidates], "rows": rows}


def score(candidate: Detector, evaluator: DetectionEvaluator, proposals: int) -> float:
    with_proposals(candidate.eval(), proposals)
    value = evaluator.evaluate_candidate(candidate).scores["mAP"]
    assert value is not None
    return value


def main(keep: Keep = None, tiny: Tiny = False) -> None:
    """Compare statistics of a box head's norms in about ten minutes. Writes research/results/box_head_norms.json."""
    official_batches = 2 if tiny else OFFICIAL_BATCHES
    found: dict[str, Any] = {"machine": machine(), "training passes": official_batches}
    with supernets_folder(keep) as runs:
        train("fpn", runs, tiny)
        for proposals, count in ({20: 2} if tiny else PROPOSALS).items():
            found[f"{proposals} proposals"] = measure(runs, proposals, count, official_batches)
            print(found[f"{proposals} proposals"], flush=True)
            if not tiny:
                write_json(RESULTS / "box_head_norms.json", found)
