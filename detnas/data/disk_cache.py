"""A cache of decoded images on disk."""

import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detnas.data.packed_images import flatten_image, unflatten_image
from detnas.utils.errors import UserError
from detnas.utils.files import write_file

FORMAT = "3"
"""Version of the cached files, to be changed when the same image is decoded to other pixels or stored differently."""
HEADER = np.dtype("<u4")
"""Height, width and a CRC-32 of them and the pixels precede the pixels (H, W, 3), each as one of these."""
BLOCK = 4096
"""Bytes of a block of the file system; files occupy whole blocks."""


class DiskCache:
    """Decoded images in a folder, which any number of processes may share.

    The key of an image is a hash of its file's content, so a file that is replaced is decoded again. Files are flushed
    and renamed, and a file of another length or checksum counts as absent. The file `USED` grows by a byte for every
    block that is written; once `megabytes` are used, up to an image per process, nothing more is stored.
    """

    USED = "used"

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        self.capacity = int(megabytes * 1e6)

    def fetch(self, file: Path, how: str, decode: Callable[[], Tensor]) -> Tensor:
        """The image of `file`, (3, H, W) uint8, cached or else by `decode`; `how` describes what that does."""
        try:
            content = file.read_bytes()
        except OSError:
            return decode()  # which raises the appropriate error
        digest = hashlib.sha1(f"{FORMAT} {how}\n".encode() + content, usedforsecurity=False).hexdigest()
        path = self.folder / digest[:2] / digest
        image = _read(path)
        if image is None:
            image = decode()
            self._store(path, image)
        return image

    def _store(self, path: Path, image: Tensor) -> None:
        pixels = flatten_image(image).numpy()
        height, width = image.shape[1:]
        header = np.array([height, width, _checksum(height, width, pixels)], HEADER).tobytes()
        blocks = -(-(len(header) + image.numel()) // BLOCK)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / self.USED).open("ab") as count:
                if (count.tell() + blocks) * BLOCK > self.capacity:
                    return
                count.write(bytes(blocks))
            write_file(path, lambda out: (out.write(header), out.write(pixels.data)))
        except (OSError, UserError):
            self.capacity = 0  # a full disk must not stop a training


def _read(path: Path) -> Tensor | None:
    """The image in a file; None if the file is missing, incomplete or damaged."""
    try:
        content = np.fromfile(path, np.uint8)
    except OSError:
        return None
    begin = 3 * HEADER.itemsize
    if len(content) <= begin:
        return None
    height, width, checksum = content[:begin].view(HEADER).tolist()
    pixels = content[begin:]
    if len(pixels) != 3 * height * width or _checksum(height, width, pixels) != checksum:
        return None
    return unflatten_image(torch.from_numpy(pixels), height, width)


def _checksum(height: int, width: int, pixels: NDArray[np.uint8]) -> int:
    return zlib.crc32(pixels.data, zlib.crc32(np.array([height, width], HEADER).tobytes()))
