"""Image files: which way up they are, and their pixels.

An EXIF tag can ask viewers to turn or mirror what is stored. Labeling tools (labelImg, CVAT, Roboflow) and Ultralytics
show and read images so turned; COCO's own tools, Pillow and torchvision read what is stored. Which of them made some
boxes is told by the width and height that stand with them. The rule: an image is read as viewers show it, unless it
has the stated size only as it is stored. (Where no size is stated, as in YOLO and in image folders, it is read as
viewers show it.)
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from detnas.utils.errors import UserError

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""What a file in a folder is called that is taken for an image."""

ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
"""The last bytes of whole files, by format."""

TURNS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}
"""What is to be done with pixels (H, W, 3) by EXIF orientation; 1 is upright."""

Size = tuple[int, int]
"""Width and height in pixels."""


class UnreadableImage(Exception):
    """Why a file's pixels cannot be read."""


@dataclass(frozen=True)
class Header:
    """What an image file says before its pixels."""

    stored: Size
    orientation: int

    @property
    def shown(self) -> Size:
        """The size that viewers show."""
        width, height = self.stored
        return (height, width) if self.orientation >= 5 else (width, height)

    def is_turned(self, stated: Size | None) -> bool:
        """Whether the image is to be turned where it has to have the size `stated`: the rule above."""
        return self.orientation in TURNS and (stated is None or stated == self.shown)


def read_header(path: Path, *, decode: bool = False) -> Header:
    """The header of an image that can be read.

    JPEG and PNG files are decoded to make sure of it if `decode`, or if they have not the end of whole files: broken
    downloads are cut short. Others are always decoded.
    Raises `UnreadableImage`.
    """
    with _opened(path) as image:
        header = _header(image)
        end = ENDS.get(image.format or "")
        if decode or end is None or _last_bytes(path, len(end)) != end:
            _rgb(image)
    return header


def read_pixels(path: Path, size: Size | None = None) -> NDArray[np.uint8]:
    """An image as RGB, (H, W, 3) uint8, turned as the rule above says; alpha is left out.

    Raises `UserError` if it cannot be decoded, or if it has neither way the width and height of `size`.
    """
    try:
        with _opened(path) as image:
            header = _header(image)
            fits = size is None or size in (header.stored, header.shown)
            pixels = _rgb(image) if fits else np.empty((0, 0, 3), np.uint8)
    except UnreadableImage as error:
        raise UserError(f"{path}: this image cannot be decoded ({error}); replace it") from None
    if size is not None and not fits:
        width, height = header.shown
        raise UserError(
            f"{path}: the image has {width}x{height} pixels, but the annotations say {size[0]}x{size[1]}; fix width "
            "and height there, or the image"
        )
    return TURNS[header.orientation](pixels) if header.is_turned(size) else pixels


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as image:
            yield image
    except Exception as error:  # on damaged files Pillow's readers raise nearly anything
        raise UnreadableImage(_reason(error)) from None


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "its format is unknown"
    return str(getattr(error, "strerror", None) or error).partition("\n")[0] or type(error).__name__


def _header(image: Image.Image) -> Header:
    if image.mode in ("I", "F"):
        raise ValueError("32 bits a channel")
    return Header(image.size, _orientation(image))


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":
        return 1  # Pillow turns these itself
    try:
        # Not image.getexif(): where a PNG has no tag before its pixels, that decodes them to look behind.
        orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
    except Exception:  # as viewers do: tags that cannot be read turn nothing
        return 1
    return orientation if orientation in TURNS else 1


def _last_bytes(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(-count, 2)
        return file.read()


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """The pixels as (H, W, 3)."""
    if image.mode.startswith("I;16"):
        # Gray of 16 bits, which `convert` would cut off at 255. Colors of 16 bits are opened as bytes.
        gray = np.rint(np.asarray(image, np.float32) / 257).astype(np.uint8)
        return np.repeat(gray[:, :, None], 3, axis=2)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # without this step Pillow warns
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))  # convert always copies
