"""Image files named on the command line."""

from collections.abc import Sequence
from pathlib import Path

from detnas.data.decoding import EXTENSIONS
from detnas.utils.errors import UserError
from detnas.utils.files import is_file


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The files, images in folders (sorted) and glob matches of `paths`. Raises `UserError` if one names none."""
    images = []
    for path in paths:
        if path.is_dir():
            inside = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in EXTENSIONS)
            if not inside:
                raise UserError(f"{path}: no image in this folder ({', '.join(EXTENSIONS)}); name another")
            images += inside
        elif is_file(path):
            images.append(path)
        elif named := sorted(filter(is_file, Path(path.anchor).glob(str(path.relative_to(path.anchor))))):
            images += named
        else:
            raise UserError(f"{path}: no such image or folder; name one that exists")
    return images
