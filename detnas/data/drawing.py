"""Images with boxes drawn on them."""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from PIL import Image, ImageFont
from torch import Tensor
from torchvision.utils import draw_bounding_boxes

from detnas.utils.files import write_file

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
COLORS = ("orange", "deepskyblue", "lime", "magenta", "yellow", "red", "white", "violet")
"""The colors of categories, by label modulo their number."""
MAX_LETTERS = 60
"""Letters of a name that are drawn."""
NO_LETTER = "\U0010ffff"
"""A code point that is never assigned, so that fonts draw it as they draw each letter that they lack."""


def caption(name: str, number: int) -> str:
    """What is drawn for a category: its name; or, if the font cannot draw all of it, the category's number, which
    `legend` explains, and the name with escapes for the letters that it lacks, so that no two names look the same."""
    text = drawable(name)
    return text if text == name else f"#{number} {text}"


def legend(categories: Iterable[tuple[int, str]]) -> list[str]:
    """A line that says which of the categories (number, name) are drawn as numbers; none if none is."""
    named = [f"#{number} = {name}" for number, name in categories if drawable(name) != name]
    return [f"Drawn as numbers, for want of letters in the font: {', '.join(named)}"] if named else []


def drawable(text: str) -> str:
    """`text` with escapes, such as \\u4eba, for the letters that the font lacks, and without the end of a long one."""
    letters = [one if _has_glyph(one) else ascii(one)[1:-1] for one in text[:MAX_LETTERS]]
    return "".join(letters) + "..." * (len(text) > MAX_LETTERS)


@cache
def _has_glyph(letter: str) -> bool:
    """Whether Pillow's default font, which is used throughout, draws a letter so that it can be seen."""
    font = ImageFont.load_default()
    try:
        glyph, missing = font.getmask(letter), font.getmask(NO_LETTER)
    except UnicodeEncodeError:  # the bitmap font of a Pillow without FreeType
        return letter.isascii() and letter.isprintable()
    if glyph.getbbox() is None:
        return letter == " "
    return (glyph.size, bytes(glyph)) != (missing.size, bytes(missing))


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
