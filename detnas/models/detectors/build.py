"""Making detectors from their settings, and what is known of a detector that was made."""

from itertools import chain

import torch

from detnas.config import DetectorSettings
from detnas.models.backbone import Backbone
from detnas.models.detectors import DETECTORS
from detnas.models.detectors.geometry import ImageTransform
from detnas.models.detectors.head_ops import build_head_op
from detnas.models.detectors.spec import Detector, DetectorSpec
from detnas.models.supernet import ChoiceBlock
from detnas.spaces.block import NO_CHOICE, HeadSpace

__all__ = ["Detector", "build_detector", "find_spec", "first_label", "set_resolution"]


def build_detector(
    backbone: Backbone, num_classes: int, settings: DetectorSettings, head: HeadSpace = NO_CHOICE
) -> Detector:
    """The detector that `settings` describe, around `backbone`, with fresh weights outside it; with every op that
    `head` leaves to choose. Its labels start at `first_label`. Raises `UserError` if the backbone has
    not the maps that it needs, or if `anchor_sizes` is `auto`."""
    detector = DETECTORS[settings.type].build(backbone, num_classes, settings)
    detector.transform = ImageTransform(settings)
    towers = DETECTORS[settings.type].towers(settings)
    for place, (name, channels) in enumerate(zip(chain(*towers), chain(*settings.head_channels), strict=True)):
        full = detector.get_submodule(name)
        if head.towers:
            allowed = head.allowed_ops[place]
            ops = (
                build_head_op(op, full, *channels) if index in allowed else None for index, op in enumerate(head.ops)
            )
            detector.set_submodule(name, ChoiceBlock(ops))
        elif settings.head is not None:
            detector.set_submodule(name, build_head_op(list(chain(*settings.head))[place], full, *channels))
    return detector.to(memory_format=torch.channels_last)


def set_resolution(detector: Detector, settings: DetectorSettings) -> None:
    """Let `detector` see images by `settings`, which differ from its own in nothing but `PIXELS` and `min_size`."""
    find_spec(detector).set_sizes(detector, settings)
    detector.transform = ImageTransform(settings).train(detector.training)


def find_spec(detector: Detector) -> DetectorSpec:
    """The entry of `DETECTORS` that made `detector`."""
    return DETECTORS[detector.transform.settings.type]


def first_label(detector: Detector) -> int:
    """The label of the first class: 1 where torchvision takes 0 for the background, else 0."""
    return find_spec(detector).first_label
