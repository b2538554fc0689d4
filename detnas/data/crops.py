"""A classification set from boxes alone: the crops of a detection set's objects, and background."""

from math import log

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.ops import box_iou
from torchvision.transforms import v2

from detnas.config import TrainingSettings
from detnas.data.detection import DetectionSet
from detnas.data.images import Images
from detnas.data.samples import GREY, Key, colour_and_flips

SMALLEST = 4
"""Boxes with a side of fewer pixels show too little to learn from."""


class CropSamples(Dataset[tuple[Tensor, int]]):
    """Square crops (3, size, size) uint8 with the label of their object; background has the label after the last.

    An object's crop is jittered in place and scale; a background crop is a random square, as large as some object
    of the set, that hardly overlaps any box of its picture.
    """

    def __init__(
        self, data: DetectionSet, size: int, background: float, settings: TrainingSettings, cache_mb: int
    ) -> None:
        self.data = data
        self.size = size
        self.images = Images(data.files, cache_mb)
        self.changes = v2.Compose(colour_and_flips(settings))
        picture_of = np.repeat(np.arange(len(data)), np.diff(data.starts))
        whole = np.flatnonzero((data.boxes[:, 2:].min(axis=1) >= SMALLEST) & ~data.crowd)
        self.objects = [(int(picture_of[row]), int(row)) for row in whole]
        self.num_background = round(len(self.objects) * background / (1 - background))
        self.num_classes = len(data.categories) + (self.num_background > 0)

    def __len__(self) -> int:
        return len(self.objects) + self.num_background

    def __getitem__(self, key: Key) -> tuple[Tensor, int]:
        index, seed = key
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            if index < len(self.objects):
                picture, row = self.objects[index]
                x, y, side = _around(*self.data.boxes[row])
                label = int(self.data.labels[row])
            else:
                picture = int(torch.randint(len(self.data), ()))
                x, y, side = self._background(picture)
                label = len(self.data.categories)
            return self.changes(self._crop(self.images[picture], x, y, side)), label

    def _background(self, picture: int) -> tuple[float, float, float]:
        """A random square; the last try stands even if it overlaps a box, in pictures that are full of them."""
        width, height = self.data.sizes[picture]
        boxes = torch.from_numpy(self.data.training_boxes(picture)[0])
        for _ in range(20):
            _, row = self.objects[int(torch.randint(len(self.objects), ()))]
            side = min(float(self.data.boxes[row, 2:].max()), float(width), float(height))
            x, y = float(torch.rand(())) * (width - side), float(torch.rand(())) * (height - side)
            square = torch.tensor([[x, y, x + side, y + side]], dtype=torch.float64)
            if not (box_iou(square, boxes) > 0.1).any():
                break
        return x, y, side

    def _crop(self, image: Tensor, x: float, y: float, side: float) -> Tensor:
        """The square, with grey where it leaves the picture, resized."""
        left, top, length = round(x), round(y), max(1, round(side))
        height, width = image.shape[-2:]
        inside = image[:, max(top, 0) : top + length, max(left, 0) : left + length]
        padding = [
            max(-left, 0),
            max(-top, 0),
            max(left + length - width, 0),
            max(top + length - height, 0),
        ]
        padded: Tensor = v2.functional.pad(inside, padding, fill=GREY)
        resized: Tensor = v2.functional.resize(padded, [self.size, self.size], antialias=True)
        return resized


def _around(x: float, y: float, width: float, height: float) -> tuple[float, float, float]:
    """A square around a box: 1 to 1.6 times its longer side, moved by up to a tenth of it."""
    longer = max(width, height)
    side = longer * float(torch.empty(()).uniform_(0, log(1.6)).exp())
    move_x, move_y = ((torch.rand(2) - 0.5) * 0.2 * longer).tolist()
    return x + width / 2 - side / 2 + move_x, y + height / 2 - side / 2 + move_y, side
