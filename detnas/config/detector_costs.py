"""What detectors cost besides their backbones, from formulas."""

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

from detnas.spaces.cost import Cost, DetectorParts, Size, conv_cost, halved, total

if TYPE_CHECKING:
    from detnas.config.detector import DetectorSettings, FPNSettings, RetinaNetSettings

POOLED = 7
"""Side of the maps that are pooled for the box head of Faster R-CNN."""


def fpn_parts(settings: "FPNSettings", channels: Mapping[int, int], num_classes: int, image: Size) -> DetectorParts:
    """Mirrors `detnas.models.detectors.fpn`, from formulas. The box head is counted on as many regions as there can be
    proposals."""
    wide, is_normed = settings.fpn_channels, settings.norm != "none"
    maps = _maps(settings, image)
    maps.append(halved(maps[-1]))
    anchors = len(settings.anchor_ratios)
    shared = _on_every(maps, 9 * wide * wide, wide)
    outputs = _on_every(maps, wide * anchors, anchors) + _on_every(maps, wide * 4 * anchors, 4 * anchors)
    convs = [wide, *[settings.box_channels] * settings.box_convs]
    pooled = (POOLED, POOLED)
    layers = [conv_cost(9 * before * after, after, pooled, is_normed=is_normed) for before, after in pairwise(convs)]
    features = settings.box_features
    for before, after in (
        (convs[-1] * POOLED**2, features),
        (features, num_classes + 1),
        (features, 4 * (num_classes + 1)),
    ):
        layers.append(conv_cost(before * after, after, (1, 1), is_normed=False))
    box_head = total(layers)
    regions = Cost(box_head.macs * settings.proposals, box_head.params)
    return DetectorParts(image, _pyramid(settings, channels, image, is_normed), shared + outputs + regions)


def retinanet_parts(
    settings: "RetinaNetSettings", channels: Mapping[int, int], num_classes: int, image: Size
) -> DetectorParts:
    """Mirrors `detnas.models.detectors.retinanet`, from formulas."""
    wide, is_normed = settings.fpn_channels, settings.norm != "none"
    maps, extra = _maps(settings, image), Cost(0, 0)
    for _ in range(settings.extra_levels):
        maps.append(halved(maps[-1]))
        extra += conv_cost(9 * wide * wide, wide, maps[-1], is_normed=False)
    tower = total([_on_every(maps, 9 * wide * wide, wide, is_normed=is_normed)] * settings.head_convs)
    anchors = len(settings.anchor_ratios) * len(settings.anchor_scales)
    outputs = (_on_every(maps, 9 * wide * anchors * values, anchors * values) for values in (num_classes, 4))
    return DetectorParts(image, _pyramid(settings, channels, image, is_normed) + extra, tower + tower + total(outputs))


def _maps(settings: "DetectorSettings", image: Size) -> list[Size]:
    """The sizes of the maps that the backbone gives to the pyramid."""
    return [(-(-image[0] // stride), -(-image[1] // stride)) for stride in settings.strides]


def _pyramid(settings: "DetectorSettings", channels: Mapping[int, int], image: Size, is_normed: bool) -> Cost:
    """A 1x1 and a 3x3 convolution for each of the backbone's maps, whose `channels` are by their strides."""
    wide = settings.fpn_channels
    return total(
        conv_cost(weights * wide, wide, size, is_normed=is_normed)
        for stride, size in zip(settings.strides, _maps(settings, image), strict=True)
        for weights in (channels[stride], 9 * wide)
    )


def _on_every(maps: list[Size], weights: int, channels: int, *, is_normed: bool = False) -> Cost:
    """A convolution that runs on every one of `maps`."""
    costs = [conv_cost(weights, channels, size, is_normed=is_normed) for size in maps]
    return Cost(sum(cost.macs for cost in costs), costs[0].params)
