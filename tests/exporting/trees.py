"""Detectors that have learned a little of the trees."""

from pathlib import Path
from typing import Any

import pytest
import torch
from paths import SHARED

from detnas.config import DataSettings, FPNSettings, RetinaNetSettings, TrainingSettings
from detnas.data.detection import DetectionSet
from detnas.data.samples import DetectionSamples
from detnas.data.splits import open_data
from detnas.models.backbone import find_backbone, shrink_depthwise
from detnas.models.detectors.build import Detector
from detnas.models.weights import DetectorInfo, save_detector
from detnas.spaces import Architecture, search_space
from detnas.training.loop import one_pass, train
from detnas.training.tasks import DetectionTask
from detnas.utils.progress import Progress

TREES = SHARED / "data" / "trees"

SHARED: dict[str, Any] = {
    "min_size": 160,
    "max_size": 224,
    "fpn_channels": 32,
    "anchor_ratios": (1.0,),
}
SETTINGS = {
    "fpn": FPNSettings(
        **SHARED,
        anchor_sizes=(12, 24, 48, 96, 128),
        rpn_candidates_train=200,
        rpn_candidates=200,
        proposals_train=100,
        proposals=100,
        rois=64,
        roi_canonical_size=56,
        box_convs=1,
        box_channels=32,
        box_features=64,
    ),
    "retinanet": RetinaNetSettings(
        **SHARED,
        anchor_sizes=(16, 32, 64),
        anchor_scales=(0.71, 1.0, 1.41),
        extra_levels=0,
        norm="group",
        head_convs=1,
        losses="torchvision",
    ),
}


def trees() -> DetectionSet:
    """The validation set."""
    if not TREES.exists():
        pytest.skip(f"{TREES} is not here")
    return open_data(TREES, DataSettings(), seed=0).val


def train_on_trees(kind: str, folder: Path, steps: int) -> Path:
    """The weights file, in `folder`, of a detector after so many steps.

    It learns the validation images themselves, which takes few: it has to find something there, no more.
    """
    data = trees()
    space = search_space("tiny", 0.5)
    categories = tuple((one.id, one.name) for one in data.categories)
    info = DetectorInfo(space, Architecture.parse("03 12 2013 30"), SETTINGS[kind], categories)
    torch.manual_seed(0)
    detector: Detector = info.build()
    shrink_depthwise(find_backbone(detector))
    settings = TrainingSettings(
        steps=steps, batch_size=4, optimizer="adamw", lr=2e-3, schedule="cosine", warmup=20, clip_norm=5
    )
    samples = DetectionSamples(data, settings, 100, detector=SETTINGS[kind])
    progress = Progress(quiet=True)
    device = torch.device("cpu")
    train(detector, DetectionTask(samples), settings, folder, seed=0, device=device, progress=progress, passes=one_pass)
    save_detector(folder / "detector.safetensors", detector, info)
    return folder / "detector.safetensors"
