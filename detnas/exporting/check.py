"""Compares exported networks with the eager ones, on real images."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import box_iou

from detnas.config import DetectorSettings, FPNSettings
from detnas.data.decoding import Size
from detnas.data.images import read_image
from detnas.exporting.backbones import BackboneModel
from detnas.exporting.detectors import DetectorModel
from detnas.models.backbone import Subnet
from detnas.models.detectors.build import Detector
from detnas.models.detectors.detect import Detections, detect
from detnas.models.detectors.geometry import ImageTransform
from detnas.models.weights import BackboneInfo, DetectorInfo
from detnas.utils.errors import UserError

PIXELS, SCORE = 0.1, 1e-3
"""The largest differences of boxes and scores that are allowed."""
TIED_IOU = 2e-3
"""If the overlap of two boxes is this close to the threshold, rounding decides whether one of them is dropped."""
OF_LARGEST = 1e-4
"""The largest difference of a map's values that is allowed, as a fraction of its largest value."""
SIDES = (224, 448)
"""For a backbone without a detector: the shorter side of its input, and the most that the longer one has."""


@dataclass(frozen=True)
class Image:
    file: Path
    size: Size | None = None
    """Expected width and height."""

    def read(self) -> Tensor:
        """(3, H, W) uint8, RGB."""
        return read_image(self.file, self.size)


@dataclass(frozen=True)
class Difference:
    """The difference between two models' detections on an image."""

    detections: int
    """The number of detections that both models have."""
    pixels: float
    score: float
    """The largest differences of boxes and scores among these."""
    lone: str | None
    """A detection of only one of the models that rounding does not explain, in words; None if there is none."""


def check_detector(detector: Detector, info: DetectorInfo, model: DetectorModel, images: Sequence[Image]) -> str:
    """Compare the detections; return a human-readable line.

    Raises `UserError` if they differ on an image, or if there are none on any image.
    """
    groups = [[image] for image in images]
    if model.takes_batches and len(images) > 1:
        groups.append(list(images[:2]))
    found: list[Difference] = []
    for group in groups:
        pixels = [image.read() for image in group]
        pairs = zip(group, model.detect(pixels), detect(detector, pixels, torch.device("cpu")), strict=True)
        for image, ours, theirs in pairs:
            one = compare(ours, theirs, info.settings)
            if one.lone:
                raise UserError(
                    f"{image.file}: the export differs from the eager model: {one.lone}; nothing is written"
                )
            found.append(one)
    count = sum(one.detections for one in found)
    if not count:
        raise UserError(
            f"{images[0].file}: the detector finds nothing on the {len(images)} images to check by, so that the "
            "export cannot be checked; name images with objects by --check"
        )
    return (
        f"checked on {_counted(images)}: {count} detections, boxes within {max(one.pixels for one in found):.1g} "
        f"pixels and scores within {max(one.score for one in found):.1g} of the eager model's"
    )


def check_backbone(
    backbone: Subnet, info: BackboneInfo | DetectorInfo, model: BackboneModel, images: Sequence[Image]
) -> str:
    """Compare the maps, of images as a detector prepares them, and without their last row and column: sides that are
    multiples of 32 show nothing of how odd ones are padded. Return a human-readable line. Raises `UserError` if they
    differ."""
    transform = ImageTransform(input_settings(info)).eval()
    farthest = []
    for image in images:
        batch, _ = transform([image.read().float() / 255])
        odd = batch.tensors[..., :-1, :-1].contiguous()
        apart = max(_largest_difference(backbone, model, pixels) for pixels in (batch.tensors, odd))
        if apart > OF_LARGEST:
            raise UserError(
                f"{image.file}: the export's maps are {apart:.1g} of their largest value off the eager model's; "
                "nothing is written"
            )
        farthest.append(apart)
    return f"checked on {_counted(images)}: maps within {max(farthest):.1g} of their largest value"


@torch.inference_mode()
def _largest_difference(backbone: Subnet, model: BackboneModel, pixels: Tensor) -> float:
    """Of two maps, as a fraction of the largest value; infinite where a value is no number."""
    pairs = zip(model.maps(pixels), backbone(pixels), strict=True)
    shares = [(ours - theirs).abs().max() / theirs.abs().max() for ours, theirs in pairs]
    return float(torch.stack(shares).max().nan_to_num(inf))


def compare(ours: Detections, theirs: Detections, settings: DetectorSettings) -> Difference:
    """Match two models' detections on one image."""
    near = (
        (ours.labels[:, None] == theirs.labels)
        & (np.abs(ours.scores[:, None] - theirs.scores) <= SCORE)
        & (np.abs(ours.boxes[:, None] - theirs.boxes).max(axis=2, initial=0) <= PIXELS)
    )
    mine, its = np.nonzero(near)
    lone = _lone(ours, ~near.any(axis=1), theirs, settings) or _lone(theirs, ~near.any(axis=0), ours, settings)
    pixels = float(np.abs(ours.boxes[mine] - theirs.boxes[its]).max(initial=0))
    score = float(np.abs(ours.scores[mine] - theirs.scores[its]).max(initial=0))
    return Difference(int(near.any(axis=1).sum()), pixels, score, lone)


def _lone(found: Detections, alone: NDArray[np.bool_], others: Detections, settings: DetectorSettings) -> str | None:
    """The best of the detections without a match (`alone`), unless rounding can explain it: at the end of the list, or
    in non-maximum suppression by a box of `others`."""
    full = len(found.scores) == settings.detections or len(others.scores) == settings.detections
    last = max((one.scores.min(initial=1) for one in (found, others)), default=0) if full else 0
    for index in np.flatnonzero(alone & (found.scores > max(settings.score_threshold, last) + SCORE)):
        same = (others.labels == found.labels[index]) & (others.scores > found.scores[index] - SCORE)
        overlaps = box_iou(torch.from_numpy(found.boxes[[index]]), torch.from_numpy(others.boxes[same]))
        if not ((overlaps - settings.nms_threshold).abs() < TIED_IOU).any():
            box = ", ".join(f"{side:.1f}" for side in found.boxes[index])
            return f"only one finds class {found.labels[index]} with score {found.scores[index]:.3f} at {box}"
    return None


def input_settings(info: BackboneInfo | DetectorInfo) -> DetectorSettings:
    """Settings that say how images become the backbone's input; of the rest nothing is used."""
    if isinstance(info, DetectorInfo):
        return info.settings
    return FPNSettings(min_size=SIDES[0], max_size=SIDES[1], **info.preprocessing.model_dump())


def _counted(images: Sequence[Image]) -> str:
    return f"{len(images)} image{'s' if len(images) > 1 else ''} ({images[0].file}{', …' * (len(images) > 1)})"
