"""Backbones and detectors for use outside a run."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import ValidationError
from torch import nn

from detnas.config.loading import explain
from detnas.models.backbone import Backbone, Subnet, find_backbone
from detnas.models.detectors import DETECTORS
from detnas.models.detectors.build import Detector, build_detector
from detnas.models.resnet import ResNet
from detnas.models.supernet import Supernet
from detnas.models.weights import load_weights
from detnas.spaces import Architecture, SearchSpace, search_space
from detnas.spaces.published import NAMES, PUBLISHED, RESNETS
from detnas.utils.errors import UserError, suggestion
from detnas.utils.files import is_file

Network: TypeAlias = Subnet | ResNet
"""A backbone that is trained standalone: it has one path, and a cost."""


def create_backbone(
    source: Architecture | str | Path, space: SearchSpace | str = "small", ops: Collection[str] = ()
) -> Network | Supernet:
    """A backbone: a published one by name (`detnas models` lists them) or that of an architecture in `space`, both with
    fresh weights; or the backbone of a weights file with its weights.

    The network maps images (N, 3, H, W), float32 and normalized as the file's metadata say, to a list of one map a
    stage (N, channels[i], H / strides[i], W / strides[i]), sizes rounded up; see its `channels` and `strides`
    (4, 8, 16, 32), or by timm's names `feature_info`. `space` is used only with an `Architecture`. `ops` names
    the custom ops, as `package.module:Class`, that may be imported for a weights file: files are data.

    Raises `UserError` for an unknown name, an architecture that does not fit the space, a file that is not a weights
    file, or one with other custom ops.
    """
    if isinstance(source, Architecture):
        return Subnet(search_space(space) if isinstance(space, str) else space, source)
    if isinstance(source, str):
        if source in NAMES:
            return build_published(source)
        if not is_file(Path(source)):
            raise UserError(f"backbone {source!r}: no published network and no file; {suggestion(source, NAMES)}")
    model, _ = load_weights(Path(source), ops)
    backbone = find_backbone(model)
    assert isinstance(backbone, Subnet | Supernet)  # as every weights file's
    return backbone


def build_published(name: str) -> Network:
    """The published network `name`, one of `detnas.spaces.published.NAMES`, with fresh weights."""
    return ResNet(name) if name in RESNETS else Subnet(PUBLISHED[name].space, PUBLISHED[name].architecture)


def find_network(model: nn.Module) -> Network:
    """The backbone of `model`, a classifier or a detector around a single network."""
    backbone = find_backbone(model)
    assert isinstance(backbone, Network)
    return backbone


def create_detector(kind: str, backbone: Backbone, num_classes: int, **settings: Any) -> Detector:
    """A detector around `backbone`, for `num_classes` classes beside background: torchvision's Faster R-CNN with FPN
    ("fpn"), its RetinaNet ("retinanet"), or another of `detnas.models.detectors.DETECTORS`.

    `settings` are the fields of `detnas.config.FPNSettings` or `RetinaNetSettings`; the defaults are the paper's.
    Images are a list of (3, H, W), float32 RGB in 0-1, of any sizes; the detector resizes and normalizes them itself.
    In training mode it also takes a list of targets, `boxes` (n, 4) float32 as x1, y1, x2, y2 in pixels and `labels`
    (n,) int64, and returns a dict of scalar losses. In evaluation mode it returns a dict for each image, with `boxes`
    in its pixels, `scores` (n,) in 0-1, highest first, and `labels`. Labels start at 1 for `fpn`, where 0 is the
    background, and at 0 for `retinanet`.

    Raises `UserError` for an unknown kind, a setting that does not fit, or `num_classes` below 1.
    """
    if kind not in DETECTORS:
        raise UserError(f"detector {kind!r} is unknown; choose one of {', '.join(DETECTORS)}")
    if num_classes < 1:
        raise UserError(f"num_classes {num_classes}: must be 1 or more, the background not counted")
    section = DETECTORS[kind].settings
    try:
        return build_detector(backbone, num_classes, section(**settings))
    except ValidationError as error:
        raise UserError(f"detector {kind}: {explain(error, section)}") from None
