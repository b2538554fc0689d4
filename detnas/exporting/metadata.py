"""The metadata of exported files, with which they can be used without the weights file."""

from typing import Any

import torch

from detnas.models.weights import BackboneInfo, DetectorInfo
from detnas.spaces import PAPER_OPS
from detnas.version import __version__


def about_detector(info: DetectorInfo) -> dict[str, Any]:
    """Metadata of a detector: `classes` by label, their ids in the data set, and all settings."""
    return _about_network(info) | {
        "classes": [name for _, name in info.categories],
        "category_ids": [id for id, _ in info.categories],
        "detector": info.settings.model_dump(mode="json"),
    }


def about_backbone(info: BackboneInfo | DetectorInfo) -> dict[str, Any]:
    """Metadata of a backbone: channels and strides of its maps, and the preprocessing of its input."""
    return _about_network(info) | {
        "channels": info.space.map_channels,
        "strides": info.space.strides,
        "preprocessing": info.preprocessing.model_dump(mode="json"),
    }


def _about_network(info: BackboneInfo | DetectorInfo) -> dict[str, Any]:
    ops = {} if info.space.ops == PAPER_OPS else {"ops": list(info.space.ops)}
    return {
        "space": info.space.name,
        **ops,
        "architecture": str(info.architecture),
        "shuffle": info.shuffle,
        "versions": {"detnas": __version__, "torch": str(torch.__version__)},
    }
