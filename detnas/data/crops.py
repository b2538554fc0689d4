"""A classification set from boxes alone: the crops of a detection set's objects, and background."""

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

SMALLEST = 4
"""Boxes with a side of fewer pixels show too little to learn from."""


class CropSamples(Dataset[tuple[Tensor, int]]):
    """Square crops (3, size, size) uint8 with the label of their object; background has the label after the last.

    An object's crop is jittered in place and scale; a background crop is a random square, as large as some object
    of the set, that hardly overlaps any box of its image. Without `settings` nothing else is changed.
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
        self.changes = v2.Compose(build_augmentation(settings))
        self.objects = find_crop_objects(data)
        self.num_background = round(len(self.objects) * background / (1 - background))

    def __len__(self) -> int:
        return len(self.objects) + self.num_background

    def __getitem__(self, key: Key) -> tuple[Tensor, int]:
        index, seed = key
        with seeded_rng(seed):
            image, label, x, y, side = self._place(index)
            return self.changes(self._crop(self.images[image], x, y, side)), label

    def name(self, key: Key) -> str:
        """The file that a crop is cut from, and where: x, y and side in pixels."""
        index, seed = key
        with seeded_rng(seed):
            image, _, *place = self._place(index)
        return f"{self.data.files[image]} at ({', '.join(f'{value:.0f}' for value in place)})"

    def _place(self, index: int) -> tuple[int, int, float, float, float]:
        """The image, the label and the square (x, y, side) of a crop, drawn from the global generator."""
        if index < len(self.objects):
            image, row = self.objects[index].tolist()
            return image, int(self.data.labels[row]), *_around(*self.data.boxes[row])
        image = int(torch.randint(len(self.data), ()))
        return image, len(self.data.categories), *self._background(image)

    def _background(self, image: int) -> tuple[float, float, float]:
        """A random square: of 20 tries the one that overlaps boxes least, or the first that hardly does."""
        width, height = self.data.sizes[image]
        boxes = self.data.boxes[self.data.rows_of(image)]  # crowds too: they are no background
        tries = []
        for _ in range(20):
            row = self.objects[int(torch.randint(len(self.objects), ())), 1]
            side = min(float(self.data.boxes[row, 2:].max()), float(width), float(height))
            x, y = float(torch.rand(())) * (width - side), float(torch.rand(())) * (height - side)
            tries.append((_overlap(boxes, x, y, side), x, y, side))
            if tries[-1][0] <= 0.1:
                break
        _, x, y, side = min(tries)
        return x, y, side

    def _crop(self, image: Tensor, x: float, y: float, side: float) -> Tensor:
        """The square, with gray where it leaves the image, resized."""
        left, top, length = round(x), round(y), max(1, round(side))
        height, width = image.shape[-2:]
        inside = image[:, max(top, 0) : top + length, max(left, 0) : left + length]
        padding = [
            max(-left, 0),
            max(-top, 0),
            max(left + length - width, 0),
            max(top + length - height, 0),
        ]
        padded: Tensor = v2.functional.pad(inside, padding, fill=GRAY)
        resized: Tensor = v2.functional.resize(padded, [self.size, self.size], antialias=True)
        return resized


def find_crop_objects(data: DetectionSet) -> NDArray[np.int64]:
    """The objects worth cutting out, (n, 2): the image and the row of each box. Raises `UserError` without any."""
    image_of = np.repeat(np.arange(len(data)), np.diff(data.starts))
    whole = np.flatnonzero((data.boxes[:, 2:].min(axis=1) >= SMALLEST) & ~data.crowd)
    if len(whole) == 0:
        raise UserError(
            f"pretraining.source: no box of the {len(data)} images to cut crops from is {SMALLEST} pixels wide and "
            "high; choose source folder or none"
        )
    return np.stack((image_of[whole], whole), axis=1)


def _around(x: float, y: float, width: float, height: float) -> tuple[float, float, float]:
    """A square around a box: 1 to 1.6 times its longer side, moved by up to a tenth of it."""
    longer = max(width, height)
    side = longer * float(torch.empty(()).uniform_(0, log(1.6)).exp())
    move_x, move_y = ((torch.rand(2) - 0.5) * 0.2 * longer).tolist()
    return x + width / 2 - side / 2 + move_x, y + height / 2 - side / 2 + move_y, side


def _overlap(boxes: NDArray[np.float64], x: float, y: float, side: float) -> float:
    """The largest overlap of a square with any of the boxes (x, y, width, height), as a share of the smaller one.

    Not IoU: that is small for an object that lies whole in a large square.
    """
    corner = np.array([x, y])
    common = np.minimum(boxes[:, :2] + boxes[:, 2:], corner + side) - np.maximum(boxes[:, :2], corner)
    smaller = np.minimum(boxes[:, 2:].prod(axis=1), side**2)
    return float((common.clip(0).prod(axis=1) / smaller).max(initial=0.0))
