"""YOLO data sets on the disk."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

Images = Mapping[str, Sequence[str] | None]
"""Lines of labels by the image's file, below images/; None where there is no label file."""


def write_yolo(folder: Path, images: Images, description: str, *, size: tuple[int, int] = (40, 20)) -> Path:
    """images/, labels/ and data.yaml with the text `description`."""
    for name, lines in images.items():
        image = folder / "images" / name
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(image)
        if lines is not None:
            labels = (folder / "labels" / name).with_suffix(".txt")
            labels.parent.mkdir(parents=True, exist_ok=True)
            labels.write_text("".join(f"{line}\n" for line in lines))
    (folder / "data.yaml").write_text(description)
    return folder
