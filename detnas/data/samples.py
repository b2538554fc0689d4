"""Samples for training: images with their targets, augmented as a function of the sample's seed.

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
from detnas.data.images import Images, downscale_sizes

Key = tuple[int, int]
Target = dict[str, Tensor]
XYXY = tv_tensors.BoundingBoxFormat.XYXY
GRAY = 114
"""Fill value of the padding, where an image is made smaller or a crop extends beyond its image."""
MOST_ASPECT = 50
"""Of an image that is more times as long as wide, or as high, only the middle is resized to be center-cropped."""


@contextmanager
def seeded_rng(seed: int) -> Iterator[None]:
    """Seed torch's global CPU generator within the block, and restore its state afterwards.

    `torch.manual_seed` would also seed the generators of all devices, which is slow for every sample.
    """
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)


class DetectionSamples(Dataset[tuple[Tensor, Target]]):
    """Images (3, H, W) uint8 with `boxes` (n, 4) float32, x1, y1, x2, y2, and `labels` (n,) int64 from 0.

    Images larger than the input of `detector`, times the largest scale jitter of `settings`, are downscaled to that
    size, and their boxes with them. They are cached in `cache_mb` megabytes of memory or in `disk`; see `Images`.
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
        self.unscaled_edge = 0.0 if detector is None else detector.unscaled_edge
        if detector is not None:
            enlarged = max((1.0, *(settings.scale_jitter or ())))
            self.sizes = downscale_sizes(data.sizes, detector.min_size, detector.max_size, enlarged)
        self.images = Images(data.files, cache_mb, data.sizes, target_sizes=self.sizes, disk=disk)
        self.is_portrait = data.sizes[:, 0] < data.sizes[:, 1] if group_by_aspect else None
        """(N,) bool: whether each image is higher than wide, if batches are grouped by aspect."""

    def __len__(self) -> int:
        return len(self.data)

    def name(self, key: Key) -> str:
        """The image file of a sample, for messages."""
        return str(self.data.files[key[0]])

    def __getitem__(self, key: Key) -> tuple[Tensor, Target]:
        index, seed = key
        image = self.images[index]
        boxes, labels = self.data.training_boxes(index)
        scale = np.tile(self.sizes[index] / self.data.sizes[index], 2)
        target = {"boxes": torch.from_numpy(boxes * scale).float(), "labels": torch.from_numpy(labels)}
        with seeded_rng(seed):
            image, target = self._augment(image, target)
        if self.unscaled_edge:  # the detector does not scale this part of a box either
            target["boxes"][:, 2:] += torch.from_numpy(self.unscaled_edge * (1 - scale[2:]))
        return image, target

    def _augment(self, image: Tensor, target: Target) -> tuple[Tensor, Target]:
        if self.color is not None:
            image = self.color(image)
        # The same draws and results as v2's transforms, on plain tensors: wrapping them takes longer than flipping.
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
            return _jitter_scale(image, target, self.settings.scale_jitter)
        return image, target


class ClassSamples(Dataset[tuple[Tensor, int]]):
    """Images (3, size, size) uint8 with the index of their class, randomly cropped and resized.

    Without `settings` they are not augmented, for evaluation: resized so that the shorter side is 8/7 of `size` (the
    usual 256 for 224), and center-cropped.
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
        self.is_augmented = settings is not None
        if settings is None:
            crop = [v2.Resize(round(size * 8 / 7), antialias=True), v2.CenterCrop(size)]
        else:
            crop = [v2.RandomResizedCrop(size, scale=(min_scale, 1.0), antialias=True)]
        self.transforms = v2.Compose([*crop, *build_augmentation(settings)])

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, key: Key) -> str:
        """The image file of a sample, for messages."""
        return str(self.images.files[key[0]])

    def __getitem__(self, key: Key) -> tuple[Tensor, int]:
        index, seed = key
        image = self.images[index]
        if not self.is_augmented:
            image = _crop_middle(image)
        with seeded_rng(seed):
            return self.transforms(image), int(self.labels[index])


def build_augmentation(settings: TrainingSettings | None) -> list[v2.Transform]:
    """The color jitter and the flips that `settings` ask for; the identity if there are none."""
    if settings is None:
        return [v2.Identity()]
    transforms = {
        v2.ColorJitter(*[settings.color_jitter] * 3): settings.color_jitter,
        v2.RandomHorizontalFlip(settings.flip): settings.flip,
        v2.RandomVerticalFlip(settings.vertical_flip): settings.vertical_flip,
    }
    return [transform for transform, strength in transforms.items() if strength > 0] or [v2.Identity()]


def _crop_middle(image: Tensor) -> Tensor:
    """An image without the ends that are no part of its center crop: those of a line of 1x60000 pixels, enlarged to
    256 in height, would take gigabytes."""
    most = MOST_ASPECT * min(image.shape[-2:])
    if max(image.shape[-2:]) <= most:
        return image
    cropped: Tensor = v2.functional.center_crop(image, [min(side, most) for side in image.shape[-2:]])
    return cropped


def _jitter_scale(image: Tensor, target: Target, scale: tuple[float, float]) -> tuple[Tensor, Target]:
    """Resize by a random factor, then crop or pad to the original size. Boxes of less than 2 pixels are left out."""
    # Not v2.ScaleJitter: it first fits an image that is not square into its transposed size.
    factor = float(torch.empty(()).uniform_(*scale))
    height, width = image.shape[-2:]
    resize = v2.Resize([max(1, round(height * factor)), max(1, round(width * factor))], antialias=True)
    crop = v2.RandomCrop((height, width), pad_if_needed=True, fill=GRAY)
    transform = v2.Compose([resize, crop, v2.ClampBoundingBoxes(), v2.SanitizeBoundingBoxes(min_size=2)])
    boxes = tv_tensors.BoundingBoxes(target["boxes"], format=XYXY, canvas_size=(height, width))
    image, target = transform(tv_tensors.Image(image), target | {"boxes": boxes})
    return image.as_subclass(Tensor), {name: value.as_subclass(Tensor) for name, value in target.items()}
