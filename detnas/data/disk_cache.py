"""A cache of decoded images on disk."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from detnas.data.packed_images import flatten_image, unflatten_image
from detnas.utils.errors import UserError
from detnas.utils.files import write_file

FORMAT = "2"
"""Version of the cached files, to be changed when the same image is decoded to other pixels or stored differently."""
HEADER = np.dtype("<u4")
"""Height and width precede the pixels (H, W, 3), each as one of these."""
BLOCK = 4096
"""Bytes of a block of the file system; files occupy whole blocks."""


class DiskCache:
    """Decoded images in a folder, which any number of processes may share.

    The key of an image is a hash of its file's content, so a file that is replaced is decoded again. Files are flushed
    and renamed, and a file of the wrong length counts as absent. The file `USED` grows by a byte for every block that
    is written; once `megabytes` are used, up to an image per process, nothing more is stored.
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
        header = np.array(image.shape[1:], HEADER).tobytes()
        blocks = -(-(len(header) + image.numel()) // BLOCK)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / self.USED).open("ab") as count:
                if (count.tell() + blocks) * BLOCK > self.capacity:
                    return
                count.write(bytes(blocks))
            write_file(path, lambda out: (out.write(header), out.write(flatten_image(image).numpy().data)))
        except (OSError, UserError):
            self.capacity = 0  # a full disk must not stop a training


def _read(path: Path) -> Tensor | None:
    """The image in a file; None if the file is missing or incomplete."""
    try:
        content = np.fromfile(path, np.uint8)
    except OSError:
        return None
    begin = 2 * HEADER.itemsize
    height, width = content[:begin].view(HEADER).tolist() if len(content) >= begin else (0, 0)
    if len(content) != begin + 3 * height * width:
        return None
    return unflatten_image(torch.from_numpy(content[begin:]), height, width)
