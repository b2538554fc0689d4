"""COCO dictionaries of generated images."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from detnas.data.decoding import Size

Box = tuple[int, Sequence[float]]
"""A label from 0, and x, y, width and height in pixels."""


def make_coco(images: Mapping[str, tuple[Size, Sequence[Box]]], names: Iterable[str]) -> dict[str, Any]:
    """The COCO dictionary of the size and boxes of `images` by file name, and category `names`; ids are from 1."""
    boxes = [(image_id, *box) for image_id, (_, found) in enumerate(images.values(), start=1) for box in found]
    return {
        "images": [
            {"id": id, "file_name": name, "width": width, "height": height}
            for id, (name, ((width, height), _)) in enumerate(images.items(), start=1)
        ],
        "annotations": [
            {
                "id": id,
                "image_id": image_id,
                "category_id": label + 1,
                "bbox": list(box),
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            for id, (image_id, label, box) in enumerate(boxes, start=1)
        ],
        "categories": [{"id": id, "name": name} for id, name in enumerate(names, start=1)],
    }
