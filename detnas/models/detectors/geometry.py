"""Pixels and boxes: where anchors are, how boxes are resized with an image, what is pooled for a box.

The official detectors were trained in maskrcnn-benchmark, in which a box from x1 to x2 is x2 - x1 + 1 pixels wide, so
that its x2 is torchvision's minus 1. In torchvision's coordinates, in which a pixel extends from x to x + 1, that
framework differs in three places, and `geometry: maskrcnn-benchmark` follows it there:

* Anchors are centered on the cells of their map, which are as large as its stride says; torchvision has them at the
  cells' upper left corners, and takes the stride from the sizes of image and map. Their sides are rounded at the
  scale of the stride (`cell_anchors`), in torchvision at that of the image.
* That extra pixel of a box is not scaled when the image is resized. At the usual factor of 1.67 (480 pixels to 800)
  torchvision's right and lower edges would be 0.4 pixels of the original image further in.
* The pixels from x1 to x2 - 1 are pooled for a box: one less on the right and below.

What still differs, besides rounding errors: images are resized in floating point without the low-pass filter with
which Pillow shrinks them, and their sides may differ by one pixel; boxes outside their image are clipped to nothing
and dropped, not clipped to one pixel.
"""

from math import log2
from typing import cast

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import LevelMapper

from detnas.config import DetectorSettings
from detnas.models.detectors.prepared import PreparedImages
from detnas.models.preprocessing import normalize

SMALLEST = 0.01
"""Width or height in pixels of a resized box to train on of which nothing would be left."""


class ImageTransform(GeneralizedRCNNTransform):  # type: ignore[misc]
    """torchvision's normalizing, resizing and padding with a detector's settings. `PreparedImages` pass unchanged."""

    def __init__(self, settings: DetectorSettings) -> None:
        super().__init__(settings.min_size, settings.max_size, list(settings.image_mean), list(settings.image_std))
        self.settings = settings
        self.unscaled = settings.unscaled_edge

    def forward(
        self, images: list[Tensor] | PreparedImages, targets: list[dict[str, Tensor]] | None = None
    ) -> tuple[ImageList, list[dict[str, Tensor]] | None]:
        if isinstance(images, PreparedImages):
            return ImageList(images.pixels, images.sizes), targets
        return cast(tuple[ImageList, list[dict[str, Tensor]] | None], super().forward(images, targets))

    def normalize(self, image: Tensor) -> Tensor:
        return normalize(image, self.settings)

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        if target is not None:
            target = target | {"boxes": _grown(target["boxes"], -self.unscaled)}
        image, target = super().resize(image, target)
        if target is not None:
            boxes = _grown(target["boxes"], self.unscaled)
            # torchvision refuses boxes without width or height: those narrower than the pixel that is not scaled, or
            # than float32 resolves.
            upper = torch.where(boxes[:, 2:] > boxes[:, :2], boxes[:, 2:], boxes[:, :2] + SMALLEST)
            target["boxes"] = torch.cat((boxes[:, :2], upper), dim=1)
        return image, target

    def postprocess(
        self,
        result: list[dict[str, Tensor]],
        image_shapes: list[tuple[int, int]],
        original_image_sizes: list[tuple[int, int]],
    ) -> list[dict[str, Tensor]]:
        found = [one | {"boxes": _grown(one["boxes"], -self.unscaled)} for one in result]
        found = super().postprocess(found, image_shapes, original_image_sizes)
        return [one | {"boxes": _not_inverted(_grown(one["boxes"], self.unscaled))} for one in found]


class CellAnchors(AnchorGenerator):  # type: ignore[misc]
    """maskrcnn-benchmark's anchors: `ratios` times `sizes[level]` around the centers of cells of `strides[level]`."""

    def __init__(
        self, sizes: tuple[tuple[float, ...], ...], ratios: tuple[float, ...], strides: tuple[int, ...]
    ) -> None:
        super().__init__(sizes, (ratios,) * len(sizes))
        self.strides = strides
        self.cell_anchors = [cell_anchors(stride, level, ratios) for stride, level in zip(strides, sizes, strict=True)]

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        first = feature_maps[0]
        self.set_cell_anchors(first.dtype, first.device)
        strides = [[torch.tensor(stride, device=first.device)] * 2 for stride in self.strides]
        anchors = torch.cat(self.grid_anchors([list(x.shape[-2:]) for x in feature_maps], strides))
        return [anchors] * len(image_list.image_sizes)


def cell_anchors(stride: int, sizes: tuple[float, ...], ratios: tuple[float, ...]) -> Tensor:
    """The anchors of the cell at the upper left corner: (ratios * sizes, 4) x1, y1, x2, y2, size running fastest.

    A cell of `stride` x `stride` pixels is given each ratio (height over width) at about its area, in whole pixels;
    these shapes are then scaled by size over stride.
    """
    ratio = torch.tensor(ratios, dtype=torch.float64)
    widths = (stride / ratio.sqrt()).round()
    heights = (widths * ratio).round()
    scales = torch.tensor(sizes, dtype=torch.float64) / stride
    sides = torch.stack((widths, heights), dim=1)[:, None] * scales[:, None]
    half = sides.reshape(-1, 2) / 2
    return torch.cat((stride / 2 - half, stride / 2 + half), dim=1).float()


class PyramidRoIAlign(MultiScaleRoIAlign):  # type: ignore[misc]
    """torchvision's pooling to maps of `size` x `size`, from maps with these `strides`: torchvision infers them from
    its first image and keeps them, wrongly if that image is small and padded."""

    make_levels: type[LevelMapper] = LevelMapper

    def __init__(self, strides: tuple[int, ...], canonical_size: int, size: int) -> None:
        super().__init__([str(stride) for stride in strides], size, sampling_ratio=2, canonical_scale=canonical_size)
        self.scales = [1 / stride for stride in strides]
        self.map_levels = self.make_levels(int(log2(strides[0])), int(log2(strides[-1])), canonical_size)


class _WholeBoxLevels(LevelMapper):  # type: ignore[misc]
    """Selects the level by the whole box, of which `InnerPixelsRoIAlign` pools one pixel less in each direction."""

    def __call__(self, boxlists: list[Tensor]) -> Tensor:
        return cast(Tensor, super().__call__([_grown(one, 1.0) for one in boxlists]))


class InnerPixelsRoIAlign(PyramidRoIAlign):
    """maskrcnn-benchmark's pooling, which covers a box from the center of its first pixel to that of its last."""

    make_levels = _WholeBoxLevels

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        return cast(Tensor, super().forward(x, [_grown(one, -1.0) for one in boxes], image_shapes))


def _not_inverted(boxes: Tensor) -> Tensor:
    """`boxes` (n, 4) with right and lower edges no further left or up than the others, as those are after scaling that
    were narrower than the pixel that is not scaled."""
    return torch.cat((boxes[:, :2], torch.maximum(boxes[:, 2:], boxes[:, :2])), dim=1)


def _grown(boxes: Tensor, by: float) -> Tensor:
    """`boxes` (n, 4) with right and lower edges moved outwards by `by` pixels."""
    return boxes + boxes.new_tensor([0.0, 0.0, by, by]) if by else boxes
