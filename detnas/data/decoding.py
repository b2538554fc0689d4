"""Decoding of image files, with their EXIF orientation.

Viewers, labeling tools (labelImg, CVAT, Roboflow) and Ultralytics rotate or mirror the stored pixels as it says; COCO's
own tools, Pillow and torchvision do not. The rule: the orientation is applied, unless annotations state the size of
the image (YOLO data sets and image folders do not) and it has that size only as it is stored.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from detnas.utils.errors import UserError

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Suffixes of the files in a folder that are taken for images."""

ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
"""The last bytes of a complete file, by format."""

TURNS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}
"""The transformation of pixels (H, W, 3) that each EXIF orientation asks for; 1 asks for none."""

Size = tuple[int, int]
"""Width and height in pixels."""


class UnreadableImage(Exception):
    """An image file that cannot be decoded; the message is the reason, without the file's name."""


class Header(NamedTuple):
    """The size of an image and its EXIF orientation."""

    stored: Size
    orientation: int

    @property
    def shown(self) -> Size:
        """The size with the orientation applied, as viewers show it."""
        width, height = self.stored
        return (height, width) if self.orientation >= 5 else (width, height)

    def is_turned(self, stated: Size | None) -> bool:
        """Whether the orientation is applied, if annotations state the size `stated`: the rule of this module."""
        return self.orientation in TURNS and (stated is None or stated == self.shown)


def read_header(path: Path, *, decode: bool = False) -> Header:
    """The header of an image, after a check that the image can be decoded.

    JPEG and PNG files are decoded only with `decode`, or if they do not end as complete files do, as after a broken
    download. Files of other formats are always decoded. Raises `UnreadableImage`.
    """
    with _opened(path) as image:
        header = _header(image)
        end = ENDS.get(image.format or "")
        if decode or end is None or _last_bytes(path, len(end)) != end:
            _rgb(image)
    return header


def read_pixels(path: Path, size: Size | None = None) -> NDArray[np.uint8]:
    """An image as RGB, (H, W, 3) uint8, with its orientation applied by the rule of this module; without alpha.

    Raises `UserError` if it cannot be decoded, or if its width and height are not `size` in either orientation.
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
    except Exception as error:  # Pillow's readers raise almost any exception on damaged files
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
        return 1  # Pillow applies it itself
    try:
        # Not image.getexif(): for a PNG without a tag before its pixels, it decodes them to look for one behind.
        orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
    except Exception:  # like viewers, ignore tags that cannot be read
        return 1
    return orientation if orientation in TURNS else 1


def _last_bytes(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(-count, 2)
        return file.read()


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """The pixels as (H, W, 3)."""
    if image.mode.startswith("I;16"):
        # 16-bit gray, which `convert` would clip at 255. Pillow opens 16-bit colors as 8-bit ones.
        gray = np.rint(np.asarray(image, np.float32) / 257).astype(np.uint8)
        return np.repeat(gray[:, :, None], 3, axis=2)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # without this step Pillow warns
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))  # convert always copies
