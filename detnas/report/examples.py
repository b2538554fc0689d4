"""Validation images with the winner's detections, for the page."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from detnas.data.detection import DetectionSet
from detnas.report.images import Box, Example

IMAGES = 9
SHOWN_SCORE = 0.3
"""Detections with a lower score are not drawn."""


def validation_examples(val: DetectionSet, results: Sequence[Mapping[str, Any]]) -> list[Example]:
    """A few images, spread evenly over the validation set, with their true boxes and the COCO results on them.

    Raises `LookupError`, `TypeError`, `ValueError` or `OverflowError` for results that are none, or not of this set.
    """
    names = {category.id: category.name for category in val.categories}
    examples = []
    for index in np.unique(np.linspace(0, len(val) - 1, IMAGES).astype(int)).tolist():
        width, height = val.sizes[index].tolist()
        boxes, labels = val.training_boxes(index)
        predicted = []
        for result in results:
            if result["image_id"] == val.image_ids[index] and result["score"] >= SHOWN_SCORE:
                x, y, w, h = map(float, result["bbox"])
                predicted.append(Box(x, y, x + w, y + h, names[result["category_id"]], float(result["score"])))
        truth = [
            Box(x1, y1, x2, y2, val.categories[label].name)
            for (x1, y1, x2, y2), label in zip(boxes.tolist(), labels, strict=True)
        ]
        examples.append(Example(val.files[index], width, height, truth, predicted))
    return examples
