"""The official code's way of evaluating a candidate, with which benchmarks/fitness.py compares ours (docs/paper.md).

One process builds the detector, reads the supernet, sets all BN statistics to 0 and 1, and runs 500 batches of 8
training images, flipped at random, in training mode: their losses are computed, and the statistics are exponential
averages with a momentum of 0.1. It writes a checkpoint. A second process reads that, and evaluates on the images of the
search split one by one with pycocotools. `python -m benchmarks.official` is such a process.
"""

import contextlib
import io
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn

from benchmarks.command import ROOT
from benchmarks.supernets import CPU, Trained, load
from detnas.config import TrainingSettings
from detnas.data.batches import iterate_batches
from detnas.data.images import read_image
from detnas.data.samples import DetectionSamples
from detnas.models.backbone import find_backbone
from detnas.models.detectors.detect import Detections, detect
from detnas.models.supernet import Supernet
from detnas.spaces import Architecture
from detnas.training.tasks import DetectionTask

BATCHES, BATCH_SIZE, MOMENTUM, WORKERS = 500, 8, 0.1, 2


def evaluate_in_processes(
    kind: str,
    runs: Path,
    architecture: Architecture,
    seed: int,
    count: int,
    momentum: float | None,
    changes: tuple[str, ...] = (),
) -> float:
    """A candidate's mAP by the two processes, with `count` batches and `changes` to the recipe."""
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "benchmarks.official", kind, str(runs.absolute()), str(architecture)]
        command += [f"{temporary}/model.pt", *changes]
        averages = [] if momentum is None else ["--momentum", str(momentum)]
        numbers = ["--seed", str(seed), "--recalibrate", str(count), *averages]
        subprocess.run([*command, *numbers], check=True, cwd=ROOT)
        return float(subprocess.check_output(command, text=True, cwd=ROOT))


@torch.no_grad()
def recalibrate(trained: Trained, architecture: Architecture, seed: int, count: int, momentum: float | None) -> None:
    """Give a path of the supernet BN statistics by training passes; plain averages if `momentum` is None."""
    supernet = trained.supernet
    activate(trained, architecture)
    for module in supernet.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = momentum
    supernet.train()
    torch.manual_seed(seed)  # the losses sample anchors and proposals
    settings = TrainingSettings(steps=count, batch_size=BATCH_SIZE, lr=1)
    samples = DetectionSamples(trained.data.fit, settings, 0, detector=trained.recipe.detector, group_by_aspect=True)
    task = DetectionTask(samples)
    for batch in iterate_batches(
        samples, task.collate, batch_size=BATCH_SIZE, seed=seed, start=0, stop=count, workers=WORKERS
    ):
        task.losses(supernet, batch, CPU)


def detect_one_by_one(trained: Trained) -> list[Detections]:
    trained.supernet.eval()
    return [one for file in trained.data.search.files for one in detect(trained.supernet, [read_image(file)], CPU)]


def pycocotools_map(trained: Trained, found: list[Detections]) -> float:
    search = trained.data.search
    results: list[dict[str, Any]] = []
    for index, one in enumerate(found):
        results += search.results(index, one.boxes, one.scores, one.labels)
    if not results:  # pycocotools raises an error
        return 0.0
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = search.ground_truth()
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


def activate(trained: Trained, architecture: Architecture) -> None:
    backbone = find_backbone(trained.supernet)
    assert isinstance(backbone, Supernet)
    backbone.activate(architecture)


def main(
    kind: str,
    runs: Path,
    architecture: str,
    checkpoint: Path,
    changes: Annotated[list[str] | None, typer.Argument()] = None,
    count: Annotated[int, typer.Option("--recalibrate", help="Batches; 0: evaluate the checkpoint.")] = 0,
    momentum: Annotated[float | None, typer.Option(help="Of the statistics' average; none: a plain average.")] = None,
    seed: int = 0,
) -> None:
    """Recalibrate a candidate of a supernet in RUNS and write CHECKPOINT, or read it and print the candidate's mAP."""
    trained = load(kind, runs, *(changes or ()))
    if count:
        recalibrate(trained, Architecture.parse(architecture), seed, count, momentum)
        torch.save(trained.supernet.state_dict(), checkpoint)
    else:
        trained.supernet.load_state_dict(torch.load(checkpoint, weights_only=True))
        activate(trained, Architecture.parse(architecture))
        print(pycocotools_map(trained, detect_one_by_one(trained)))


if __name__ == "__main__":
    typer.run(main)
