"""Validation pictures with true and predicted boxes, ready to be drawn inside the page."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from detnas.data.decoding import read_pixels
from detnas.errors import UserError

LONGEST_SIDE = 640
BYTES_OF_ALL = 2_000_000  # plotly takes 4.8 MB of the 8 MB that a mail attachment or a chat still carries comfortably
MOST_PREDICTIONS = 20


@dataclass(frozen=True)
class Box:
    """A box in pixels; a predicted one has a score."""

    x1: float
    y1: float
    x2: float
    y2: float
    name: str
    score: float | None = None


@dataclass(frozen=True)
class Example:
    """A picture, the size to which the boxes refer, what is in it and what the detector found."""

    image: Path
    width: int
    height: int
    truth: Sequence[Box]
    predicted: Sequence[Box]


@dataclass(frozen=True)
class Picture:
    """An example whose image is a data address; without one the image could not be read."""

    name: str
    address: str | None
    width: int
    height: int
    truth: Sequence[Box]
    predicted: Sequence[Box]
    left_out: int

    @property
    def text(self) -> str:
        """The picture in words, for those who do not see it."""
        truth = ", ".join(box.name for box in self.truth) or "nothing"
        predicted = ", ".join(label(box) for box in self.predicted) or "nothing"
        return f"{self.name}. In it: {truth}. Found: {predicted}."


def label(box: Box) -> str:
    """What stands at a predicted box: name and score."""
    return box.name if box.score is None else f"{box.name} {box.score:.2f}"


def pictures(examples: Sequence[Example]) -> list[Picture]:
    """Embeds the examples, as many as fit."""
    embedded: list[Picture] = []
    size = 0
    for example in examples:
        address = _data_address(example)
        size += len(address or "")
        if size > BYTES_OF_ALL:
            break
        strongest = sorted(example.predicted, key=lambda box: box.score or 0.0, reverse=True)
        shown = strongest[:MOST_PREDICTIONS]
        embedded.append(
            Picture(
                name=example.image.name,
                address=address,
                width=example.width,
                height=example.height,
                truth=example.truth,
                predicted=shown[::-1],  # drawn in this order, so that the strongest lies on top
                left_out=len(strongest) - len(shown),
            )
        )
    return embedded


def _data_address(example: Example) -> str | None:
    try:
        pixels = read_pixels(example.image, (example.width, example.height))
    except UserError:
        return None
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
