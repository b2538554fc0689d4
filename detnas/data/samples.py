"""Samples for training: pictures with their targets, changed at random as a function of the sample's seed.

A key is (index, seed): the same key gives the same sample in any process and any order.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from detnas.config import TrainingSettings
from detnas.data.detection import DetectionSet
from detnas.data.images import Images

Key = tuple[int, int]
Target = dict[str, Tensor]

GREY = 114
"""What borders are filled with, where a picture is made smaller."""


class DetectionSamples(Dataset[tuple[Tensor, Target]]):
    """Pictures (3, H, W) uint8 with `boxes` (n, 4) float32, x1, y1, x2, y2, and `labels` (n,) int64 from 0."""

    def __init__(self, data: DetectionSet, settings: TrainingSettings, cache_mb: int) -> None:
        self.data = data
        self.scale_jitter = settings.scale_jitter
        self.changes = v2.Compose(colour_and_flips(settings))
        self.images = Images(data.files, cache_mb, data.sizes)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, key: Key) -> tuple[Tensor, Target]:
        index, seed = key
        image = self.images[index]
        boxes, labels = self.data.training_boxes(index)
        height, width = image.shape[-2:]
        target: dict[str, Any] = {
            "boxes": tv_tensors.BoundingBoxes(
                torch.from_numpy(boxes).float(), format="XYXY", canvas_size=(height, width)
            ),
            "labels": torch.from_numpy(labels),
        }
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            image, target = self.changes(tv_tensors.Image(image), target)
            if self.scale_jitter is not None:
                image, target = _scale_jitter(self.scale_jitter, height, width)(image, target)
        return image.as_subclass(Tensor), {name: value.as_subclass(Tensor) for name, value in target.items()}


class ClassSamples(Dataset[tuple[Tensor, int]]):
    """Pictures (3, size, size) uint8 with their class, cropped and resized at random.

    Without `settings` it is the middle of each picture, as pictures are judged: resized so that the shorter side is
    8/7 of `size` (the usual 256 of 224), and cropped.
    """

    def __init__(
        self, images: Images, labels: Sequence[int], size: int, min_scale: float, settings: TrainingSettings | None
    ) -> None:
        self.images = images
        self.labels = labels
        if settings is None:
            crop = [v2.Resize(round(size * 8 / 7), antialias=True), v2.CenterCrop(size)]
        else:
            crop = [v2.RandomResizedCrop(size, scale=(min_scale, 1.0), antialias=True)]
        self.changes = v2.Compose([*crop, *colour_and_flips(settings)])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: Key) -> tuple[Tensor, int]:
        index, seed = key
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            return self.changes(self.images[index]), self.labels[index]


def colour_and_flips(settings: TrainingSettings | None) -> list[v2.Transform]:
    changes: list[v2.Transform] = []
    if settings is None:
        return [v2.Identity()]
    if settings.color_jitter > 0:
        changes.append(v2.ColorJitter(*[settings.color_jitter] * 3))
    if settings.flip > 0:
        changes.append(v2.RandomHorizontalFlip(settings.flip))
    if settings.vertical_flip > 0:
        changes.append(v2.RandomVerticalFlip(settings.vertical_flip))
    return changes or [v2.Identity()]


def _scale_jitter(scale: tuple[float, float], height: int, width: int) -> v2.Compose:
    """Resize by a random factor, then crop or pad back to the picture's size; boxes cut to slivers are left out."""
    # Not v2.ScaleJitter: it fits pictures that are not square into the transposed size first.
    factor = float(torch.empty(()).uniform_(*scale))
    return v2.Compose(
        [
            v2.Resize([max(1, round(height * factor)), max(1, round(width * factor))], antialias=True),
            v2.RandomCrop((height, width), pad_if_needed=True, fill=GREY),
            v2.ClampBoundingBoxes(),
            v2.SanitizeBoundingBoxes(min_size=2),
        ]
    )
