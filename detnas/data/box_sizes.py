"""How large the boxes of a data set are where a detector sees them."""

import numpy as np
from numpy.typing import NDArray

from detnas.config import DetectorSettings
from detnas.data.detection import DetectionSet
from detnas.data.images import resized_sizes


def resized_box_sizes(data: DetectionSet, detector: DetectorSettings) -> NDArray[np.float64]:
    """Width and height in pixels, (n, 2), of the boxes of `data` that are trained on, in images as `detector` resizes
    them; 0 where nothing is left of a box."""
    counted = ~data.crowd
    image, boxes = data.image_of[counted], data.boxes[counted]
    sizes = data.sizes[image]
    inside = np.clip(boxes[:, :2] + boxes[:, 2:], 0, sizes) - np.clip(boxes[:, :2], 0, sizes)
    scale = resized_sizes(data.sizes, detector.min_size, detector.max_size)[image] / sizes
    edge = detector.unscaled_edge
    return np.maximum(0.0, (inside - edge) * scale + edge)
