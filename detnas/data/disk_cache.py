"""Decoded images kept in files."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from detnas.data.packed_images import flatten_image, unflatten_image
from detnas.utils.files import write_file

FORMAT = "2"
"""To be changed when the same file is decoded to other pixels, or these lie otherwise."""
HEADER = np.dtype("<u4")
"""Height and width stand before the pixels, (H, W, 3), as two of these."""
BLOCK = 4096
"""Files take whole blocks of so many bytes."""


class DiskCache:
    """Decoded images in a folder that any number of processes share, and that outlives them.

    An image is found again by the bytes of its file: one that was replaced by another is not served for it. Files are
    flushed and renamed, and one that is not as long as it must be counts as absent. `USED` grows by a byte for every
    block that was written; once they take the `megabytes`, give or take an image a process, nothing more is kept.
    """

    USED = "used"

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        self.capacity = int(megabytes * 1e6)

    def fetch(self, file: Path, how: str, decode: Callable[[], Tensor]) -> Tensor:
        """The image of `file`, (3, H, W) uint8, from the folder or else by `decode`; `how` tells what that does."""
        try:
            content = file.read_bytes()
        except OSError:
            return decode()  # which says what is wrong
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
        used = self.folder / self.USED
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with used.open("ab") as count:
                if (count.tell() + blocks) * BLOCK > self.capacity:
                    return
                count.write(bytes(blocks))
            write_file(path, lambda out: (out.write(header), out.write(flatten_image(image).numpy().data)))
        except OSError:
            self.capacity = 0  # a full disk is no reason to stop a training


def _read(path: Path) -> Tensor | None:
    """The image in a file; None if there is none, or a torn one."""
    try:
        content = np.fromfile(path, np.uint8)
    except OSError:
        return None
    begin = 2 * HEADER.itemsize
    if len(content) < begin:
        return None
    height, width = content[:begin].view(HEADER).tolist()
    if len(content) != begin + 3 * height * width:
        return None
    return unflatten_image(torch.from_numpy(content[begin:]), height, width)
