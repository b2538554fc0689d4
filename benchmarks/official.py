"""The official code's way of judging a candidate, as benchmarks/fitness.py compares ours with it (docs/paper.md).

A process of its own builds the detector, reads the supernet, sets all BN statistics to 0 and 1, and runs 500 batches of
8 training images, flipped at random, in training mode: their losses are computed, and the statistics are exponential
averages with a momentum of 0.1. It writes a checkpoint. A second process reads that, and judges the images of the
search split one by one with pycocotools.

`python -m benchmarks.official recalibrate|judge KIND RUNS ARCHITECTURE SEED BATCHES MOMENTUM CHECKPOINT CHANGES`
is such a process.
"""

import contextlib
import io
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn

from benchmarks.supernets import TINY, Trained, load
from detnas.config import TrainingSettings
from detnas.data.batches import batches
from detnas.data.images import read_image
from detnas.data.samples import DetectionSamples
from detnas.models.backbone import find_backbone
from detnas.models.detectors.detect import Detections, detect
from detnas.models.supernet import Supernet
from detnas.spaces import Architecture
from detnas.training.tasks import DetectionTask

CPU = torch.device("cpu")
BATCHES, BATCH, MOMENTUM = 4 if TINY else 500, 8, 0.1
WORKERS = 2


def judge_in_processes(
    kind: str,
    runs: Path,
    architecture: Architecture,
    seed: int,
    batches: int,
    momentum: float | None,
    changes: tuple[str, ...] = (),
) -> float:
    """A candidate's mAP by the two processes, with `changes` to the recipe."""
    with tempfile.TemporaryDirectory() as temporary:
        numbers = [str(seed), str(batches), str(momentum)]
        words = [kind, str(runs), str(architecture), *numbers, f"{temporary}/model.pt", *changes]
        script = [sys.executable, __file__]
        subprocess.run([*script, "recalibrate", *words], check=True)
        return float(subprocess.check_output([*script, "judge", *words], text=True))


@torch.no_grad()
def recalibrate(trained: Trained, architecture: Architecture, seed: int, count: int, momentum: float | None) -> None:
    """Statistics of one path of the supernet by training passes; with `momentum` None they are plain averages."""
    supernet = trained.supernet
    backbone = find_backbone(supernet)
    assert isinstance(backbone, Supernet)
    backbone.activate(architecture)
    for module in supernet.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = momentum
    supernet.train()
    torch.manual_seed(seed)  # of the losses' samples
    samples = DetectionSamples(
        trained.data.fit,
        TrainingSettings(steps=count, batch_size=BATCH, lr=1),
        0,
        detector=trained.recipe.detector,
        disk=None,
        group_by_aspect=True,
    )
    task = DetectionTask(samples)
    for batch in batches(samples, task.collate, batch_size=BATCH, seed=seed, start=0, stop=count, workers=WORKERS):
        task.losses(supernet, batch, CPU)


def found_one_by_one(trained: Trained) -> list[Detections]:
    trained.supernet.eval()
    return [one for file in trained.data.search.files for one in detect(trained.supernet, [read_image(file)], CPU)]


def pycocotools_map(trained: Trained, found: list[Detections]) -> float:
    search = trained.data.search
    results: list[dict[str, Any]] = []
    for index, one in enumerate(found):
        results += search.results(index, one.boxes, one.scores, one.labels)
    if not results:  # which pycocotools does not bear
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


def main() -> None:
    command, kind, runs, architecture, seed, count, momentum, checkpoint, *changes = sys.argv[1:]
    trained = load(kind, Path(runs), *changes)
    if command == "recalibrate":
        average = None if momentum == "None" else float(momentum)
        recalibrate(trained, Architecture.parse(architecture), int(seed), int(count), average)
        torch.save(trained.supernet.state_dict(), checkpoint)
    else:
        trained.supernet.load_state_dict(torch.load(checkpoint, weights_only=True))
        backbone = find_backbone(trained.supernet)
        assert isinstance(backbone, Supernet)
        backbone.activate(Architecture.parse(architecture))
        print(pycocotools_map(trained, found_one_by_one(trained)))


if __name__ == "__main__":
    main()
