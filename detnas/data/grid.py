"""A grid of images from a data set with their boxes drawn on them, as a visual check of the annotations."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torchvision.transforms import v2

from detnas.data.detection import DetectionSet
from detnas.data.drawing import FORMATS, caption, draw_boxes, drawable, write_image
from detnas.data.images import read_image
from detnas.data.splits import RunData
from detnas.utils.errors import UserError
from detnas.utils.files import is_folder, real_path

COLUMNS = 4
SHOWN = {"train": 8, "val": 4}
CELL = 320
"""Side in pixels of the square cell of an image, including its margin."""
MARGIN = 4
STRIP = 16
"""Height in pixels of the line below the cell, with the file's name."""


def choose_file(directory: Path, out: Path | None) -> Path | None:
    """The file to draw to: `out`, or by default runs/check-NAME.jpg, where NAME is that of the data folder.

    None if the default would lie in the data folder. Raises `UserError` if `out` does, or is not an image file.
    """
    inside = real_path(out or Path()).is_relative_to(real_path(directory))
    if out is None:
        return None if inside else Path("runs") / f"check-{real_path(directory).name}.jpg"
    if inside:
        raise UserError(f"--out {out}: lies in the data folder, among its images; name a file elsewhere")
    if out.suffix.lower() not in FORMATS or is_folder(out):
        raise UserError(f"--out {out}: is not a file that ends in {' or '.join(FORMATS)}; name one")
    return out


def write_grid(path: Path, data: RunData) -> None:
    """Draw some images of both sets, always the same, with all their boxes. Raises `UserError` if it cannot write."""
    cells = [cell for split, count in SHOWN.items() for cell in _cells(split, getattr(data, split), count)]
    cells += [torch.zeros_like(cells[0])] * (-len(cells) % COLUMNS)
    rows = [torch.cat(cells[start : start + COLUMNS], dim=2) for start in range(0, len(cells), COLUMNS)]
    write_image(path, torch.cat(rows, dim=1))


def choose_images(data: DetectionSet, count: int) -> list[int]:
    """Indices of at most `count` images: first those that show most categories, rare ones first, then evenly spaced."""
    frequency = np.bincount(data.labels, minlength=len(data.categories))
    chosen: list[int] = []
    shown: set[int] = set()
    for label in np.argsort(frequency, kind="stable").tolist():
        if frequency[label] and label not in shown and len(chosen) < count:
            candidates = np.unique(data.image_of[data.labels == label]).tolist()
            best = max(candidates, key=lambda index: len(set(data.labels[data.rows_of(index)].tolist()) - shown))
            chosen.append(best)
            shown |= set(data.labels[data.rows_of(best)].tolist())
    evenly = [*np.linspace(0, len(data) - 1, count).round().astype(int).tolist(), *range(len(data))]
    return sorted(list(dict.fromkeys([*chosen, *evenly]))[:count])


def _cells(split: str, data: DetectionSet, count: int) -> Iterator[Tensor]:
    for index in choose_images(data, count):
        width, height = data.sizes[index].tolist()
        image = read_image(data.files[index], (width, height))
        scale = (CELL - MARGIN) / max(width, height)
        size = [max(1, round(height * scale)), max(1, round(width * scale))]
        boxes = data.boxes[data.rows_of(index)].copy()
        boxes[:, 2:] += boxes[:, :2]
        boxes *= np.tile([size[1] / width, size[0] / height], 2)
        labels, crowd = data.labels[data.rows_of(index)], data.crowd[data.rows_of(index)]
        captions = [
            caption(data.categories[label].name, data.categories[label].id) + (" (crowd)" if is_crowd else "")
            for label, is_crowd in zip(labels, crowd, strict=True)
        ]
        drawn = draw_boxes(v2.functional.resize(image, size, antialias=True), boxes, labels.tolist(), captions)
        yield _with_name(drawn, f"{split}: {drawable(data.files[index].name[-44:])[-44:]}")


def _with_name(image: Tensor, name: str) -> Tensor:
    """A cell of the grid: the image on black, above a line of text."""
    cell = Image.new("RGB", (CELL, CELL + STRIP))
    cell.paste(Image.fromarray(image.permute(1, 2, 0).numpy()))
    ImageDraw.Draw(cell).text((2, CELL + 2), name, "white")
    return torch.from_numpy(np.array(cell)).permute(2, 0, 1)
