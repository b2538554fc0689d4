"""Numbers for a recipe whose `detector.anchor_sizes` are `auto`."""

from detnas.config import Recipe
from detnas.config.detector import AnchorSizes
from detnas.data.box_sizes import resized_box_sizes
from detnas.data.detection import DetectionSet
from detnas.distributed import comm
from detnas.models.detectors.anchor_fit import fit_anchor_sizes

ASSUMED_STRIDES = 4


def fit_anchors(recipe: Recipe, train: DetectionSet) -> Recipe:
    """`recipe` with sizes of anchors that fit the boxes of `train`, the same in all processes."""
    detector = recipe.detector
    sizes = comm.broadcast_from_main(lambda: fit_anchor_sizes(resized_box_sizes(train, detector), detector))
    return with_anchor_sizes(recipe, tuple(sizes))


def assume_anchors(recipe: Recipe) -> Recipe:
    """`recipe` with usual sizes of anchors if they are `auto`, for detectors of which only the cost is asked: it does
    not depend on the sizes."""
    if recipe.detector.anchor_sizes != "auto":
        return recipe
    return with_anchor_sizes(recipe, tuple(ASSUMED_STRIDES * stride for stride in recipe.detector.level_strides))


def with_anchor_sizes(recipe: Recipe, sizes: AnchorSizes) -> Recipe:
    """`recipe` with these `detector.anchor_sizes`."""
    return recipe.model_copy(update={"detector": recipe.detector.model_copy(update={"anchor_sizes": sizes})})
