"""What a detector is, as the rest of detnas sees it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from torch import nn
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from detnas.config import DetectorSettings
from detnas.models.backbone import Backbone

Detector: TypeAlias = FasterRCNN | RetinaNet | GeneralizedRCNN
"""A detector with torchvision's interface, and with the `ImageTransform` of its settings as `transform`.

In training mode it takes a list of images (3, H, W), float in 0-1, and a list of targets, and returns a dict of scalar
losses. In evaluation mode it takes images, and returns a dict with `boxes`, `scores` and `labels` for each of them.
"""


@dataclass(frozen=True)
class ExportedPart:
    """The part of a detector that `detnas export --format onnx-raw` writes: its networks. What comes before and after
    them is in `detnas/exporting/postprocess.py`, which distinguishes detectors by `stages`."""

    network: nn.Module
    """In evaluation mode. With one stage: images (N, 3, H, W) -> logits (N, anchors, classes) and codes of boxes (N,
    anchors, 4), level by level. With two: an image (1, 3, H, W) and its size (2,) without the padding -> proposals (n,
    4), logits (n, 1 + classes) with the background first, and codes of boxes (n, 4 + 4 classes)."""
    stages: Literal[1, 2]
    about: Mapping[str, Any]
    """What `postprocess` needs besides the settings: `box_weights`; with one stage `cell_anchors`, `anchor_strides`."""


@dataclass(frozen=True)
class DetectorSpec:
    """A detector that recipes can name: a line of `detnas.models.detectors.DETECTORS`."""

    settings: type[DetectorSettings]
    """Its section in a recipe, which also says what it costs. The default of the section's field `type` is the
    detector's name in the table."""
    build: Callable[[Backbone, int, Any], Detector]
    """Makes it of a backbone, a number of classes without the background, and its settings, with fresh weights.
    `build_detector` adds the `transform`."""
    first_label: int
    """The label of the first class in its targets and detections: 1 where 0 is the background, else 0."""
    towers: Callable[[Any], list[list[str]]]
    """The names of the modules that are the settings' `head_channels`: torchvision's convolutions with norm and ReLU,
    in the order in which they are submodules."""
    set_sizes: Callable[[Detector, Any], None]
    """Gives it what other sizes in pixels, of otherwise equal settings, change outside its weights, such as anchors."""
    export: Callable[[Detector], ExportedPart]
    """What is exported of it beside the whole."""
