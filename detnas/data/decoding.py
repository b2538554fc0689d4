"""Decoding of image files, with their EXIF orientation.

Viewers, labeling tools (labelImg, CVAT, Roboflow) and Ultralytics rotate or mirror the stored pixels as it says; COCO's
own tools, Pillow and torchvision do not. The rule: the orientation is applied, unless annotations state the size of
the image (YOLO data sets and image folders do not) and it has that size only as it is stored.
"""

import ctypes
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError, _imaging

from detnas.utils.errors import UserError

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Suffixes of the files in a folder that are taken for images."""

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
"""The formats that are read, by the content of a file and whatever its name; JPEG includes MPO. Pillow reads others,
and some of them by programs: PostScript is handed to Ghostscript."""

LARGE = 50_000_000
"""Pixels of an image from which on the available memory is checked before it is decoded: two gigabytes."""
BYTES_PER_PIXEL = 40
"""The memory that an image takes at its peak. Measured: 10 to 18 while it is decoded, by format and mode, and 39 while
a detector normalizes it, in float32."""
TILING = "cut the image and its boxes into overlapping tiles, as `sahi coco slice` does, or downscale both"

DARK = 64
"""Of 255: an image of 16 bits a channel in which nothing is brighter uses a quarter of its range or less, as those of
cameras with 12 or 14 bits do."""
BRIGHTEN = "their values are below a quarter of the range: stretch those of all images alike over 8 bits"

# These are global in Pillow and Python, and cannot be set for a file alone, since threads read several at once. Pillow
# warns of more than 89 megapixels and refuses more than 179; here the memory decides (`_check_memory`). It also warns,
# and logs, about metadata, of which only the orientation is used; and libtiff prints what it thinks of damaged files.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())
with suppress(OSError, AttributeError):  # if this Pillow's libtiff cannot be reached, it prints
    for kind in ("Error", "Warning"):
        getattr(ctypes.CDLL(_imaging.__file__), f"TIFFSet{kind}Handler")(None)
_one_large_image = Lock()
"""Held while a large image is decoded, so that several threads do not count on the same memory."""

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


class ImageTooLarge(UnreadableImage):
    """An image for which the memory is too small; the message says what it takes and what there is."""


class Header(NamedTuple):
    """The size of an image and its EXIF orientation."""

    stored: Size
    orientation: int
    is_dark: bool = False
    """Whether the image has 16 bits a channel, of which it uses so few that it comes out nearly black (`DARK`). Only
    known of images that were decoded."""

    @property
    def is_large(self) -> bool:
        """Whether the image is decoded only if the memory suffices."""
        return _is_large(self.stored)

    @property
    def memory(self) -> float:
        """Gigabytes that the image takes where a detector is run on it."""
        return _gigabytes(self.stored)

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
    download. Files of other formats are always decoded. Raises `UnreadableImage`, or `ImageTooLarge` for an image that
    the memory does not hold.
    """
    with _opened(path) as image:
        header = _header(image)
        end = ENDS.get(image.format or "")
        if decode or end is None or _last_bytes(path, len(end)) != end:
            is_deep = _is_deep(image)
            pixels = _rgb(image)
            header = header._replace(is_dark=is_deep and bool(pixels.max() <= DARK))
    return header


def read_size(path: Path) -> Size:
    """Width and height of an image as viewers show it. Raises `UserError` if it has none."""
    try:
        return read_header(path).shown
    except UnreadableImage as error:
        raise _unreadable(path, error) from None


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
        raise _unreadable(path, error) from None
    if size is not None and not fits:
        width, height = header.shown
        raise UserError(
            f"{path}: the image has {width}x{height} pixels, but the annotations say {size[0]}x{size[1]}; fix width "
            "and height there, or the image"
        )
    return TURNS[header.orientation](pixels) if header.is_turned(size) else pixels


def _unreadable(path: Path, error: UnreadableImage) -> UserError:
    if isinstance(error, ImageTooLarge):
        return UserError(f"{path}: too large, {error}; {TILING}")
    return UserError(f"{path}: this image cannot be decoded ({error}); replace it")


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path, formats=FORMATS) as image:
            yield image
    except UnreadableImage:
        raise
    except MemoryError:
        raise ImageTooLarge("the memory does not suffice to read it") from None
    except Exception as error:  # Pillow's readers raise almost any exception on damaged files
        raise UnreadableImage(_reason(error)) from None


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "its format is none of BMP, JPEG, PNG, TIFF and WebP"
    return str(getattr(error, "strerror", None) or error).partition("\n")[0] or type(error).__name__


def _header(image: Image.Image) -> Header:
    if image.mode in ("I", "F"):
        raise ValueError("32 bits a channel")
    _check_memory(image.size)
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


def _is_large(size: Size) -> bool:
    return size[0] * size[1] >= LARGE


def _gigabytes(size: Size) -> float:
    return size[0] * size[1] * BYTES_PER_PIXEL / 1e9


def _check_memory(size: Size) -> None:
    """Raise `ImageTooLarge` if an image of this size takes more memory than there is. A small file may claim any."""
    if not _is_large(size):
        return
    from detnas.utils.memory import available_memory  # imports torch, which most images do not need

    available = available_memory()
    if available is not None and _gigabytes(size) > available / 1e9:
        raise ImageTooLarge(
            f"its {size[0]}x{size[1]} pixels take about {_gigabytes(size):,.1f} GB of memory, and "
            f"{available / 1e9:,.1f} GB are available"
        )


def _is_deep(image: Image.Image) -> bool:
    """Whether an opened image has 16 bits a channel: of gray the mode says so, and of colors, which Pillow reduces to 8
    bits, the description of what is still to be read."""
    return ";16" in image.mode or any(";16" in str(part[3]) for part in getattr(image, "tile", ()))


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """The pixels as (H, W, 3)."""
    if not _is_large(image.size):
        return _converted(image)
    with _one_large_image:
        _check_memory(image.size)
        return _converted(image)


def _converted(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I;16"):
        # 16-bit gray, which `convert` would clip at 255. Pillow opens 16-bit colors as 8-bit ones.
        gray = np.rint(np.asarray(image, np.float32) / 257).astype(np.uint8)
        return np.repeat(gray[:, :, None], 3, axis=2)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # without this step Pillow warns
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))  # convert always copies
