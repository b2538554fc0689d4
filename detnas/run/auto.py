"""Values for the fields of a recipe that are `auto`, by the data set."""

import numpy as np

from detnas.config import Recipe
from detnas.config.auto import fill
from detnas.data.box_sizes import resized_box_sizes
from detnas.data.detection import DetectionSet
from detnas.distributed import comm
from detnas.models.detectors.anchor_fit import fit_anchor_sizes


def fit_auto(recipe: Recipe, train: DetectionSet) -> Recipe:
    """`recipe` with values that fit the data set with the training images `train`, the same in all processes."""
    fitted = {
        "anchor_sizes": lambda: fit_anchor_sizes(resized_box_sizes(train, recipe.detector), recipe.detector),
        "aspect_ratio": lambda: round(float(np.median(train.sizes[:, 0] / train.sizes[:, 1])), 3),
        "classes": lambda: len(train.categories),
    }
    return fill(recipe, lambda field: comm.broadcast_from_main(fitted[field]))
