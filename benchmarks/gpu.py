"""What a training step of each stage and the evaluation of a candidate cost on a GPU.

The steps are the cases of benchmarks/steps.py; the candidates are random ones of the supernets of
benchmarks/supernets.py, which are trained on the GPU.
"""

import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import typer

from benchmarks.command import Keep, Tiny, save
from benchmarks.steps import measure_all
from benchmarks.supernets import CASES, load, supernets_folder, train


def measure_candidates(kind: str, runs: Path, count: int, device: torch.device) -> dict[str, Any]:
    """The median of the seconds that a candidate takes; the first one, which warms up, is not counted."""
    trained = load(kind, runs)
    evaluator = trained.evaluator(device=device)
    seconds = []
    for architecture in trained.draw(count):
        began = time.perf_counter()
        evaluator(architecture)
        torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    first, *others = seconds
    return {"candidates": len(others), "first seconds": round(first, 3), "seconds": np.round(median(others), 3).item()}


def main(keep: Keep = None, tiny: Tiny = False) -> None:
    """Measure training steps and the evaluation of candidates on a GPU; write benchmarks/results/gpu.json."""
    if not torch.cuda.is_available():
        message = "benchmarks.gpu: PyTorch finds no GPU here; benchmarks.steps and benchmarks.fitness measure CPUs"
        print(message, file=sys.stderr)
        raise typer.Exit(2)
    device = torch.device("cuda")
    candidates = {}
    with supernets_folder(keep) as runs:
        for kind in CASES:
            train(kind, runs, tiny)
            candidates[kind] = measure_candidates(kind, runs, 3 if tiny else 21, device)
            print(kind, candidates[kind], flush=True)
    save("gpu", {"steps": measure_all(device, tiny), "evaluation of a candidate": candidates}, tiny)


if __name__ == "__main__":
    typer.run(main)
