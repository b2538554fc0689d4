"""A classification data set from boxes: crops of the objects of a detection data set, and of background."""

from math import log

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from detnas.config import TrainingSettings
from detnas.data.detection import DetectionSet
from detnas.data.disk_cache import DiskCache
from detnas.data.images import Images
from detnas.data.samples import GRAY, Key, build_augmentation, seeded_rng
from detnas.utils.errors import UserError

MIN_SIDE = 4
"""Minimum side of a box in pixels: smaller ones show too little to learn from."""
MAX_SIDE = 8192
"""Side in pixels to which a larger square is reduced before it is padded: around a box as long and thin as a
panorama it would take gigabytes."""


class CropSamples(Dataset[tuple[Tensor, int]]):
    """Square crops (3, size, size) uint8 with the label of their object; background has the last label.

    The crop of an object is jittered in position and scale. A background crop is a random square, as large as a random
    object of the data set, that hardly overlaps any box of its image. `background` is the fraction of background crops.
    Colors and flips are augmented as `settings` say; without `settings` they are not.
    """

    def __init__(
        self,
        data: DetectionSet,
        size: int,
        background: float,
        settings: TrainingSettings | None,
        cache_mb: int,
        disk: DiskCache | None = None,
    ) -> None:
        self.data = data
        self.size = size
        self.images = Images(data.files, cache_mb, data.sizes, disk=disk)
        self.transforms = v2.Compose(build_augmentation(settings))
        self.objects = find_crop_objects(data)
        self.num_background = round(len(self.objects) * background / (1 - background))

    def __len__(self) -> int:
        return len(self.objects) + self.num_background

    def __getitem__(self, key: Key) -> tuple[Tensor, int]:
        index, seed = key
        with seeded_rng(seed):
            image, label, x, y, side = self._place(index)
            return self.transforms(self._crop(self.images[image], x, y, side)), label

    def name(self, key: Key) -> str:
        """The image file of a crop and its position (x, y, side) in pixels, for messages."""
        index, seed = key
        with seeded_rng(seed):
            image, _, *place = self._place(index)
        return f"{self.data.files[image]} at ({', '.join(f'{value:.0f}' for value in place)})"

    def _place(self, index: int) -> tuple[int, int, float, float, float]:
        """The image, the label and the square (x, y, side) of a crop, drawn from torch's global generator."""
        if index < len(self.objects):
            image, row = self.objects[index].tolist()
            return image, int(self.data.labels[row]), *_jittered_square(*self.data.boxes[row])
        image = int(torch.randint(len(self.data), ()))
        return image, len(self.data.categories), *self._background(image)

    def _background(self, image: int) -> tuple[float, float, float]:
        """A random square (x, y, side): the first of 20 that hardly overlaps a box, or else the one that does least."""
        width, height = self.data.sizes[image]
        boxes = self.data.boxes[self.data.rows_of(image)]  # including crowds, which are not background
        tries = []
        for _ in range(20):
            row = self.objects[int(torch.randint(len(self.objects), ())), 1]
            side = min(float(self.data.boxes[row, 2:].max()), float(width), float(height))
            x, y = float(torch.rand(())) * (width - side), float(torch.rand(())) * (height - side)
            tries.append((_overlap(boxes, x, y, side), x, y, side))
            if tries[-1][0] <= 0.1:
                break
        return min(tries)[1:]

    def _crop(self, image: Tensor, x: float, y: float, side: float) -> Tensor:
        """Cut out the square, padded with gray outside the image, and resize it."""
        left, top, length = round(x), round(y), max(1, round(side))
        height, width = image.shape[-2:]
        inside = image[:, max(top, 0) : top + length, max(left, 0) : left + length]
        padding = [max(-left, 0), max(-top, 0), max(left + length - width, 0), max(top + length - height, 0)]
        if length > MAX_SIDE:
            sides = [max(1, side * MAX_SIDE // length) for side in inside.shape[-2:]]
            inside = v2.functional.resize(inside, sides, antialias=True)
            padding = [side * MAX_SIDE // length for side in padding]
        padded = v2.functional.pad(inside, padding, fill=GRAY)
        resized: Tensor = v2.functional.resize(padded, [self.size, self.size], antialias=True)
        return resized


def find_crop_objects(data: DetectionSet) -> NDArray[np.int64]:
    """The objects to crop, (n, 2): indices of image and box. Raises `UserError` if there are none."""
    rows = np.flatnonzero((data.boxes[:, 2:].min(axis=1) >= MIN_SIDE) & ~data.crowd)
    if len(rows) == 0:
        raise UserError(
            f"pretraining.source: no box of the {len(data)} images to cut crops from is {MIN_SIDE} pixels wide and "
            "high; choose source folder or none"
        )
    return np.stack((data.image_of[rows], rows), axis=1)


def _jittered_square(x: float, y: float, width: float, height: float) -> tuple[float, float, float]:
    """A random square (x, y, side) around a box: 1 to 1.6 times its longer side, shifted by up to a tenth of it."""
    longer = max(width, height)
    side = longer * float(torch.empty(()).uniform_(0, log(1.6)).exp())
    move_x, move_y = ((torch.rand(2) - 0.5) * 0.2 * longer).tolist()
    return x + width / 2 - side / 2 + move_x, y + height / 2 - side / 2 + move_y, side


def _overlap(boxes: NDArray[np.float64], x: float, y: float, side: float) -> float:
    """The largest overlap of a square with any of the boxes (x, y, width, height), as a fraction of the smaller area.

    Not IoU, which is small for a small object that lies entirely in a large square.
    """
    corner = np.array([x, y])
    common = np.minimum(boxes[:, :2] + boxes[:, 2:], corner + side) - np.maximum(boxes[:, :2], corner)
    smaller = np.minimum(boxes[:, 2:].prod(axis=1), side**2)
    return float((common.clip(0).prod(axis=1) / smaller).max(initial=0.0))
