"""Making detectors from their settings, and what is known of a detector that was made."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from detnas.config import DetectorSettings
from detnas.models.backbone import Backbone, find_backbone
from detnas.models.detectors import DETECTORS
from detnas.models.detectors.geometry import ImageTransform
from detnas.models.detectors.spec import Detector, DetectorSpec

__all__ = ["Detector", "DetectorMacs", "build_detector", "count_macs", "find_spec", "first_label"]


def build_detector(backbone: Backbone, num_classes: int, settings: DetectorSettings) -> Detector:
    """The detector that `settings` describe, around `backbone`, with fresh weights outside it.
    Its labels start at `first_label`. Raises `UserError` if the backbone has not the maps that it needs, or if
    `anchor_sizes` is `auto`."""
    detector = DETECTORS[settings.type].build(backbone, num_classes, settings)
    detector.transform = ImageTransform(settings)
    return detector.to(memory_format=torch.channels_last)


def find_spec(detector: Detector) -> DetectorSpec:
    """The entry of `DETECTORS` that made `detector`."""
    return DETECTORS[detector.transform.settings.type]


def first_label(detector: Detector) -> int:
    """The label of the first class: 1 where torchvision takes 0 for the background, else 0."""
    return find_spec(detector).first_label


@dataclass(frozen=True)
class DetectorMacs:
    """MACs of a detector for one image, and those of its backbone alone, without the pyramid."""

    whole: int
    backbone: int


def count_macs(detector: Detector, height: int, width: int) -> DetectorMacs:
    """MACs of convolutions and matrix products for an image that the backbone sees in `height` x `width` pixels,
    padding included. Where the work depends on what is found, it is counted at the most that the settings allow."""
    on_shapes = copy.deepcopy(detector).to("meta").eval()  # nothing is computed
    images = torch.empty(1, 3, height, width, device="meta")
    return DetectorMacs(
        whole=_count(lambda: find_spec(detector).run_networks(on_shapes, images)),
        backbone=_count(lambda: find_backbone(on_shapes)(images)),
    )


@torch.no_grad()
def _count(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops()) // 2
