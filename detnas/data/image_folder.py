"""Image folders: a sub-folder of images for each class."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torchvision.datasets.folder import IMG_EXTENSIONS, find_classes, make_dataset

from detnas.data.packed_paths import PackedPaths
from detnas.utils.errors import UserError


def read_image_folder(directory: Path) -> tuple[PackedPaths, NDArray[np.int64], list[str]]:
    """The images below `directory`, their class indices (N,) int64, and the class names, which are the sub-folders'.

    Raises `UserError` if there is no such folder, or a class has no images.
    """
    if not directory.is_dir():
        raise UserError(f"pretraining.folder {directory}: no such folder; name one with a sub-folder for each class")
    try:
        classes, index_of = find_classes(directory)
        found = make_dataset(str(directory), index_of, IMG_EXTENSIONS)
    except FileNotFoundError as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(
            f"pretraining.folder {directory}: {reason}; it must hold a sub-folder of images for each class"
        ) from None
    return PackedPaths(file for file, _ in found), np.array([label for _, label in found], np.int64), classes
