"""Samples for training: images with their targets, changed at random as a function of the sample's seed.

A key is (index, seed): the same key gives the same sample in any process and any order.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from detnas.config import DetectorSettings, TrainingSettings
from detnas.data.detection import DetectionSet
from detnas.data.disk_cache import DiskCache
from detnas.data.downscaling import downscale_sizes
from detnas.data.images import Images

Key = tuple[int, int]
Target = dict[str, Tensor]

XYXY = tv_tensors.BoundingBoxFormat.XYXY

GRAY = 114
"""What borders are filled with, where an image is made smaller."""


@contextmanager
def seeded_rng(seed: int) -> Iterator[None]:
    """What is drawn from torch's global generator of the CPU within the block is a function of `seed`.

    It is left as it was. `torch.manual_seed` would reseed every device's generator for each sample, and is slow.
    """
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)


class DetectionSamples(Dataset[tuple[Tensor, Target]]):
    """Images (3, H, W) uint8 with `boxes` (n, 4) float32, x1, y1, x2, y2, and `labels` (n,) int64 from 0.

    Images that are larger than `detector` would see them, enlarged as `settings` may have it, are reduced, and their
    boxes with them. They are kept in `cache_mb` megabytes of memory or by `disk`, as `Images` says.
    """

    def __init__(
        self,
        data: DetectionSet,
        settings: TrainingSettings,
        cache_mb: int,
        *,
        detector: DetectorSettings | None = None,
        disk: DiskCache | None = None,
        group_by_aspect: bool = False,
    ) -> None:
        self.data = data
        self.settings = settings
        self.color = v2.ColorJitter(*[settings.color_jitter] * 3) if settings.color_jitter > 0 else None
        self.sizes = data.sizes
        self.unscaled_edge = 0.0
        if detector is not None:
            enlarged = max((1.0, *(settings.scale_jitter or ())))
            self.sizes = downscale_sizes(data.sizes, detector.min_size, detector.max_size, enlarged)
            self.unscaled_edge = detector.unscaled_edge
        self.images = Images(data.files, cache_mb, data.sizes, target_sizes=self.sizes, disk=disk)
        self.is_portrait: NDArray[np.bool_] | None = None
        """(N,): which images make batches of their own."""
        if group_by_aspect:
            self.is_portrait = data.sizes[:, 0] < data.sizes[:, 1]

    def __len__(self) -> int:
        return len(self.data)

    def name(self, key: Key) -> str:
        """The file that a sample is made from."""
        return str(self.data.files[key[0]])

    def __getitem__(self, key: Key) -> tuple[Tensor, Target]:
        index, seed = key
        image = self.images[index]
        boxes, labels = self.data.training_boxes(index)
        scale = np.tile(self.sizes[index] / self.data.sizes[index], 2)
        target = {"boxes": torch.from_numpy(boxes * scale).float(), "labels": torch.from_numpy(labels)}
        with seeded_rng(seed):
            image, target = self._changed(image, target)
        if self.unscaled_edge:  # which the detector would not have scaled either
            target["boxes"][:, 2:] += torch.from_numpy(self.unscaled_edge * (1 - scale[2:]))
        return image, target

    def _changed(self, image: Tensor, target: Target) -> tuple[Tensor, Target]:
        if self.color is not None:
            image = self.color(image)
        # What v2's transforms draw and do; unwrapped, for wrapping and unwrapping takes longer than flipping.
        size = tuple(image.shape[-2:])
        boxes = target["boxes"]
        if self.settings.flip > 0 and torch.rand(1) < self.settings.flip:
            image = image.flip(-1)
            boxes = v2.functional.horizontal_flip_bounding_boxes(boxes, XYXY, size)
        if self.settings.vertical_flip > 0 and torch.rand(1) < self.settings.vertical_flip:
            image = image.flip(-2)
            boxes = v2.functional.vertical_flip_bounding_boxes(boxes, XYXY, size)
        target = target | {"boxes": boxes}
        if self.settings.scale_jitter is not None:
            return _scale_jittered(image, target, self.settings.scale_jitter)
        return image, target


class ClassSamples(Dataset[tuple[Tensor, int]]):
    """Images (3, size, size) uint8 with their class, cropped and resized at random.

    Without `settings` it is the middle of each image, as images are judged: resized so that the shorter side is
    8/7 of `size` (the usual 256 of 224), and cropped.
    """

    def __init__(
        self,
        images: Images,
        labels: Sequence[int] | NDArray[np.int64],
        size: int,
        min_scale: float,
        settings: TrainingSettings | None,
    ) -> None:
        self.images = images
        self.labels = labels
        if settings is None:
            crop = [v2.Resize(round(size * 8 / 7), antialias=True), v2.CenterCrop(size)]
        else:
            crop = [v2.RandomResizedCrop(size, scale=(min_scale, 1.0), antialias=True)]
        self.changes = v2.Compose([*crop, *build_augmentation(settings)])

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, key: Key) -> str:
        """The file that a sample is made from."""
        return str(self.images.files[key[0]])

    def __getitem__(self, key: Key) -> tuple[Tensor, int]:
        index, seed = key
        with seeded_rng(seed):
            return self.changes(self.images[index]), int(self.labels[index])


def build_augmentation(settings: TrainingSettings | None) -> list[v2.Transform]:
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


def _scale_jittered(image: Tensor, target: Target, scale: tuple[float, float]) -> tuple[Tensor, Target]:
    """Resized by a random factor, then cropped or padded back to the same size; boxes cut to slivers are left out."""
    # Not v2.ScaleJitter: it fits images that are not square into the transposed size first.
    factor = float(torch.empty(()).uniform_(*scale))
    height, width = image.shape[-2:]
    changes = v2.Compose(
        [
            v2.Resize([max(1, round(height * factor)), max(1, round(width * factor))], antialias=True),
            v2.RandomCrop((height, width), pad_if_needed=True, fill=GRAY),
            v2.ClampBoundingBoxes(),
            v2.SanitizeBoundingBoxes(min_size=2),
        ]
    )
    boxes = tv_tensors.BoundingBoxes(target["boxes"], format=XYXY, canvas_size=(height, width))
    image, target = changes(tv_tensors.Image(image), target | {"boxes": boxes})
    return image.as_subclass(Tensor), {name: value.as_subclass(Tensor) for name, value in target.items()}
