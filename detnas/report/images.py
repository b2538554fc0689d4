"""Validation images with true and predicted boxes, as the page embeds them."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from detnas.data.decoding import read_pixels
from detnas.utils.errors import UserError

OVERLAP = 0.5
"""The least IoU with a true box of its class at which a predicted box is correct."""
MAX_BYTES = 2_000_000  # of all images together; plotly takes 4.8 MB, and the page is to stay below 8 MB
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
    """An image, its size in pixels, the true boxes and those that the detector predicted."""

    image: Path
    width: int
    height: int
    truth: Sequence[Box]
    predicted: Sequence[Box]


@dataclass(frozen=True)
class EmbeddedImage:
    """An example whose image is a data URL; None if the image could not be read."""

    name: str
    address: str | None
    width: int
    height: int
    boxes: Mapping[str, Sequence[Box]]
    """By kind, in the order in which they are drawn: true boxes that were `detected` or `missed`, then predicted boxes
    that are `wrong` or `right`."""
    left_out: int
    """The number of predicted boxes that are not drawn."""

    @property
    def predicted(self) -> Sequence[tuple[str, Box]]:
        """The predicted boxes, each with its kind."""
        return [(kind, box) for kind in ("wrong", "right") for box in self.boxes[kind]]

    @property
    def text(self) -> str:
        """The image as text, for screen readers."""
        names = {kind: ", ".join(map(label, boxes)) or "nothing" for kind, boxes in self.boxes.items()}
        return f"{self.name}. Found: {names['right']}. Missed: {names['missed']}. Wrong: {names['wrong']}."


def label(box: Box) -> str:
    """The text at a box: its name and, if it is predicted, its score."""
    return box.name if box.score is None else f"{box.name} {box.score:.2f}"


def embed_images(examples: Sequence[Example]) -> list[EmbeddedImage]:
    """The first of the examples, as many as fit into `MAX_BYTES`."""
    embedded: list[EmbeddedImage] = []
    size = 0
    for example in examples:
        address = _data_address(example)
        size += len(address or "")
        if size > MAX_BYTES:
            break
        shown = sorted(example.predicted, key=_score, reverse=True)[:MOST_PREDICTIONS]
        boxes, left_out = match_boxes(example.truth, shown), len(example.predicted) - len(shown)
        embedded.append(EmbeddedImage(example.image.name, address, example.width, example.height, boxes, left_out))
    return embedded


def match_boxes(truth: Sequence[Box], predicted: Sequence[Box]) -> dict[str, list[Box]]:
    """The boxes by kind, as `EmbeddedImage` has them; those with the highest score come last, to be drawn on top.

    They are matched as in COCO: each predicted box, by descending score, takes the true box of its class that it
    overlaps most and that is not taken yet.
    """
    missed = list(truth)
    kinds: dict[str, list[Box]] = {"detected": [], "missed": missed, "wrong": [], "right": []}
    for box in sorted(predicted, key=_score, reverse=True):
        best = max((one for one in missed if one.name == box.name), key=lambda one: _overlap(one, box), default=None)
        if best is None or _overlap(best, box) < OVERLAP:
            kinds["wrong"].insert(0, box)
        else:
            missed.remove(best)
            kinds["detected"].append(best)
            kinds["right"].insert(0, box)
    return kinds


def _overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    width = min(one.x2, other.x2) - max(one.x1, other.x1)
    height = min(one.y2, other.y2) - max(one.y1, other.y1)
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box.x2 - box.x1) * (box.y2 - box.y1) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def _score(box: Box) -> float:
    return box.score or 0.0


def _data_address(example: Example) -> str | None:
    try:
        pixels = read_pixels(example.image, (example.width, example.height))
    except UserError:
        return None
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((640, 640))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
