"""Published networks: they are what was published, and they compute."""

import json

import pytest
import torch
from paths import TESTS

from detnas.models.create import create_backbone
from detnas.spaces import search_space
from detnas.spaces.published import NAMES, PUBLISHED

OFFICIAL = TESTS / "fixtures" / "official_flops.json"
OFFICIAL_NAMES = {
    "detnas-fpn-300m": "DETNAS-COCO-FPN-300M",
    "detnas-retinanet-300m": "DETNAS-COCO-RetinaNet-300M",
    "detnas-fpn-1.3g": "DETNAS-COCO-FPN-1.3G",
    "detnas-fpn-3.8g": "DETNAS-COCO-FPN-3.8G",
}

LISTED = {
    # Millions of MACs without the classifier's head, and of parameters with it, as others have counted them.
    "detnas-fpn-300m": (288.1, 3.53),
    "detnas-tong-1019": (299.9, 3.54),
    "detnas-retinanet-300m": (291.2, 3.73),
    "detnas-voc-fpn-300m": (316.4, 3.65),
    "detnas-voc-retinanet-300m": (327.5, 3.48),
    "detnas-fpn-1.3g": (1269.2, 10.43),
    "detnas-fpn-3.8g": (3937.8, 29.52),
    "spos": (289.8, 3.56),
    "shufflenetv2-20": (262.7, 3.16),
    "shufflenetv2-40": (1036.7, 8.26),
}


@pytest.mark.parametrize("name", OFFICIAL_NAMES)
def test_a_published_network_costs_what_the_official_code_says(name: str) -> None:
    official = json.loads(OFFICIAL.read_text())["models"][OFFICIAL_NAMES[name]]
    cost = PUBLISHED[name].space.cost(PUBLISHED[name].architecture)
    assert (cost.macs, cost.params) == (official["flops_224"], official["params"])


@pytest.mark.parametrize("name", LISTED)
def test_a_published_network_costs_what_is_listed(name: str) -> None:
    network = PUBLISHED[name]
    cost = network.space.cost(network.architecture)
    # The published classifiers end in a 1x1 convolution to 1024 channels with bias, BN, and 1000 classes.
    head = network.space.channels[-1] * 1024 + 1024 + 2 * 1024 + 1024 * 1000 + 1000
    assert (round(cost.macs / 1e6, 1), round((cost.params + head) / 1e6, 2)) == LISTED[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_backbone_by_name_is_what_it_says(name: str) -> None:
    with torch.device("meta"):  # shapes alone: nothing is computed
        backbone = create_backbone(name)
        maps = backbone(torch.empty(1, 3, 65, 96))
    assert backbone.strides == [4, 8, 16, 32]
    expected = [
        (1, channels, -(-65 // stride), -(-96 // stride))
        for channels, stride in zip(backbone.channels, backbone.strides, strict=True)
    ]
    assert [tuple(x.shape) for x in maps] == expected
    assert backbone.cost().params == sum(parameter.numel() for parameter in backbone.parameters())
    if name in PUBLISHED:
        assert backbone.space == PUBLISHED[name].space and backbone.architecture == PUBLISHED[name].architecture
        assert backbone.channels == backbone.space.map_channels
        assert backbone.cost(97) == backbone.space.cost(backbone.architecture, 97)
    else:
        assert backbone.architecture is None


def test_the_ops_are_those_of_the_lists() -> None:
    assert str(PUBLISHED["mmrazor-detnas"].architecture) == "2020 3110 01010312 2013"  # no cost of theirs is comparable
    assert PUBLISHED["shufflenetv2-20"].architecture == search_space("small").uniform("shuffle3")
    assert PUBLISHED["shufflenetv2-40"].architecture == search_space("large").uniform("shuffle3")
