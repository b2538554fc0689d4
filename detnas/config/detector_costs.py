"""What detectors cost besides their backbones, from formulas that mirror `detnas.models.detectors`."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from detnas.spaces.cost import NOTHING, Cost, DetectorParts, Size, conv_cost, halved, total

if TYPE_CHECKING:
    from detnas.config.detector import DetectorSettings, FPNSettings, RetinaNetSettings

POOLED = 7
"""Side of the maps that are pooled for the box head of Faster R-CNN."""


def fpn_parts(settings: "FPNSettings", channels: Mapping[int, int], classes: int, image: Size) -> DetectorParts:
    """The box head is counted on as many regions as there can be proposals."""
    wide, maps = settings.fpn_channels, _levels(settings, image)
    anchors = len(settings.anchor_ratios)
    heads = _on_every(maps, 9 * wide * wide, wide)
    for values in (anchors, 4 * anchors):
        heads += _on_every(maps, wide * values, values)
    features, pooled = settings.box_features, (settings.box_channels if settings.box_convs else wide) * POOLED**2
    for before, after in ((pooled, features), (features, classes + 1), (features, 4 * (classes + 1))):
        heads += _repeated(conv_cost(before * after, after, (1, 1), is_normed=False), settings.proposals)
    return DetectorParts(image, _pyramid(settings, channels, image), heads)


def fpn_head(settings: "FPNSettings") -> Iterator[dict[str, Cost]]:
    """The cost of each convolution of the box head as each op."""
    for before, after in settings.head_channels[0]:
        ops = _head_ops(before, after, [(POOLED, POOLED)], settings.norm != "none")
        yield {op: _repeated(cost, settings.proposals) for op, cost in ops.items()}


def retinanet_parts(
    settings: "RetinaNetSettings", channels: Mapping[int, int], classes: int, image: Size
) -> DetectorParts:
    wide, maps = settings.fpn_channels, _levels(settings, image)
    added = (conv_cost(9 * wide * wide, wide, size, is_normed=False) for size in maps[len(settings.strides) :])
    anchors = len(settings.anchor_ratios) * len(settings.anchor_scales)
    outputs = (_on_every(maps, 9 * wide * anchors * values, anchors * values) for values in (classes, 4))
    return DetectorParts(image, _pyramid(settings, channels, image) + total(added), total(outputs))


def retinanet_head(settings: "RetinaNetSettings", image: Size) -> Iterator[dict[str, Cost]]:
    """The cost of each convolution of both towers as each op."""
    for tower in settings.head_channels:
        for before, after in tower:
            yield _head_ops(before, after, _levels(settings, image), settings.norm != "none")


def _head_ops(before: int, after: int, maps: list[Size], is_normed: bool) -> dict[str, Cost]:
    """The cost of a convolution of `before` to `after` channels that runs on every one of `maps`, as each op."""
    depthwise = _on_every(maps, 9 * before, 0)
    return {
        "full": _on_every(maps, 9 * before * after, after, is_normed=is_normed),
        "separable": depthwise + _on_every(maps, before * after, after, is_normed=is_normed),
        "skip": NOTHING,
    }


def _levels(settings: "DetectorSettings", image: Size) -> list[Size]:
    """The sizes of the pyramid's maps."""
    maps = [(-(-image[0] // stride), -(-image[1] // stride)) for stride in settings.strides]
    while len(maps) < settings.pyramid_levels:
        maps.append(halved(maps[-1]))
    return maps


def _pyramid(settings: "FPNSettings | RetinaNetSettings", channels: Mapping[int, int], image: Size) -> Cost:
    """A 1x1 and a 3x3 convolution for each of the backbone's maps, whose `channels` are by their strides."""
    wide, is_normed = settings.fpn_channels, settings.norm != "none"
    return total(
        conv_cost(weights * wide, wide, size, is_normed=is_normed)
        for stride, size in zip(settings.strides, _levels(settings, image), strict=False)
        for weights in (channels[stride], 9 * wide)
    )


def _on_every(maps: list[Size], weights: int, channels: int, *, is_normed: bool = False) -> Cost:
    """A convolution that runs on every one of `maps`."""
    costs = [conv_cost(weights, channels, size, is_normed=is_normed) for size in maps]
    return Cost(sum(cost.macs for cost in costs), costs[0].params)


def _repeated(cost: Cost, times: int) -> Cost:
    """What runs so many times with the same weights."""
    return Cost(cost.macs * times, cost.params)
