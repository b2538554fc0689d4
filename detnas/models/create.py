"""Backbones and detectors for use outside a run."""

from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import ValidationError
from torch import nn

from detnas.config import FPNSettings, RetinaNetSettings
from detnas.config.loading import explain
from detnas.errors import UserError, suggestion
from detnas.files import is_file
from detnas.models.backbone import Backbone, Subnet, Supernet, find_backbone
from detnas.models.detectors import Detector, build_detector
from detnas.models.resnet import ResNet
from detnas.models.weights import load_weights
from detnas.spaces import Architecture, SearchSpace, search_space
from detnas.spaces.published import NAMES, PUBLISHED, RESNETS

DETECTORS: dict[str, type[FPNSettings | RetinaNetSettings]] = {"fpn": FPNSettings, "retinanet": RetinaNetSettings}


Network: TypeAlias = Subnet | ResNet
"""A backbone that is trained alone: it has one path, and a cost."""


def create_backbone(source: Architecture | str | Path, space: SearchSpace | str = "small") -> Network | Supernet:
    """A backbone: published, by name (`detnas.spaces.published.NAMES`), or of an architecture in `space`, both with
    fresh weights; or with its weights out of a weights file, of a detector or of a backbone alone.

    The network maps images (N, 3, H, W), normalised as the file's metadata say, to a list of four maps; see its
    `channels` and `strides`, or by timm's names `feature_info`. Raises `UserError` for an unknown name, an architecture
    that does not fit the space, or a file that is not a weights file.
    """
    if isinstance(source, Architecture):
        return Subnet(search_space(space) if isinstance(space, str) else space, source)
    if isinstance(source, str):
        if source in NAMES:
            return build_published(source)
        if not is_file(Path(source)):
            raise UserError(f"backbone {source!r}: no published network and no file; {suggestion(source, NAMES)}")
    model, _ = load_weights(Path(source))
    backbone = find_backbone(model)
    assert isinstance(backbone, Subnet | Supernet)  # as every weights file's
    return backbone


def build_published(name: str) -> Network:
    """The published network `name`, one of `detnas.spaces.published.NAMES`, with fresh weights."""
    if name in RESNETS:
        return ResNet(name)
    return Subnet(PUBLISHED[name].space, PUBLISHED[name].architecture)


def find_network(model: nn.Module) -> Network:
    """The backbone inside `model` (a classifier or a detector), which must not be a supernet."""
    backbone = find_backbone(model)
    assert isinstance(backbone, Network)
    return backbone


def create_detector(
    kind: Literal["fpn", "retinanet"], backbone: Backbone, num_classes: int, **settings: Any
) -> Detector:
    """torchvision's Faster R-CNN with FPN or RetinaNet around `backbone`, for `num_classes` classes.

    `settings` are the fields of `detnas.config.FPNSettings` or `RetinaNetSettings`; the defaults are the paper's.
    Labels start at 1 for `fpn`, where 0 is the background, and at 0 for `retinanet`. Raises `UserError` for an
    unknown kind or a setting that does not fit.
    """
    if kind not in DETECTORS:
        raise UserError(f"detector {kind!r} is unknown; choose one of {', '.join(DETECTORS)}")
    try:
        return build_detector(backbone, num_classes, DETECTORS[kind](**settings))
    except ValidationError as error:
        raise UserError(f"detector {kind}: {explain(error, DETECTORS[kind])}") from None
