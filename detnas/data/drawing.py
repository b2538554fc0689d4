"""Images with boxes drawn on them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.utils import draw_bounding_boxes

from detnas.utils.files import write_file

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
COLORS = ("orange", "deepskyblue", "lime", "magenta", "yellow", "red", "white", "violet")
"""The colors of categories, by label modulo their number."""


def draw_boxes(image: Tensor, boxes: NDArray[Any], labels: Sequence[int], captions: Sequence[str]) -> Tensor:
    """Draw boxes (n, 4), x1, y1, x2, y2 in pixels, with captions on an image (3, H, W) uint8."""
    if len(boxes) == 0:
        return image
    colors: list[str | tuple[int, int, int]] = [COLORS[label % len(COLORS)] for label in labels]
    drawn: Tensor = draw_bounding_boxes(
        image,
        torch.from_numpy(boxes),
        list(captions),
        colors=colors,
        width=2,
        label_colors="black",
        label_background_colors=colors,
        fill_labels=True,
    )
    return drawn


def write_image(path: Path, pixels: Tensor) -> None:
    """Write an image (3, H, W) uint8 in the format of the file's suffix, which is one of `FORMATS`."""
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    write_file(path, lambda file: image.save(file, FORMATS[path.suffix.lower()], quality=90))
