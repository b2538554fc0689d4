"""The mobile spaces: their layout, their costs by torch's counter, and the published sizes of EfficientNet-Lite."""

from dataclasses import replace

import lite_reference
import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from detnas.models.backbone import Subnet
from detnas.models.classifier import Classifier
from detnas.spaces import Block, Cost, SearchSpace, search_space
from detnas.spaces.named import SPACES
from detnas.spaces.published import PUBLISHED
from detnas.utils.errors import UserError

MOBILE = search_space("mobile")
NAMES = [name for name, space in SPACES.items() if space.family == "efficientnet-lite"]

LISTED = {
    # Millions of parameters, as the authors list them, the classifier's head included.
    "efficientnet-lite0": 4.7,
    "efficientnet-lite1": 5.4,
    "efficientnet-lite2": 6.1,
    "efficientnet-lite3": 8.2,
    "efficientnet-lite4": 13.0,
}


def counted(network: torch.nn.Module, size: int) -> tuple[int, int]:
    """MACs by torch's counter, which counts each as two, and parameters."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.empty(1, 3, size, size, device="meta"))
    return counter.get_total_flops() // 2, sum(parameter.numel() for parameter in network.parameters())


def test_the_layout_is_that_of_efficientnet_lite0() -> None:
    assert MOBILE.map_channels == [24, 40, 112, 320] and MOBILE.strides == [4, 8, 16, 32]
    firsts = [
        (block.in_channels, block.out_channels, block.stride)
        for block in MOBILE.blocks
        if block.in_channels != block.out_channels
    ]
    assert firsts == [(16, 24, 2), (24, 40, 2), (40, 80, 2), (80, 112, 1), (112, 192, 2), (192, 320, 1)]
    assert len(MOBILE.blocks) == 15 and all(
        block == Block(block.stage, block.out_channels, block.out_channels, 1)
        for block in MOBILE.blocks
        if block.in_channels == block.out_channels
    )


def test_blocks_are_skipped_where_stride_and_channels_allow_it() -> None:
    for block, allowed in zip(MOBILE.blocks, MOBILE.allowed_ops, strict=True):
        is_first = block.in_channels != block.out_channels
        assert allowed == ((0, 1, 2, 3) if is_first else (0, 1, 2, 3, 4))
    assert MOBILE.size == 4**6 * 5**9
    with pytest.raises(UserError, match=r"op 4 \(skip\) is not allowed at block 0 of space mobile"):
        MOBILE.uniform("skip")


@pytest.mark.parametrize("size", [64, 97])
@pytest.mark.parametrize("name", NAMES)
def test_the_table_is_what_torch_counts(name: str, size: int) -> None:
    rng = np.random.default_rng(size)
    for space in (search_space(name), search_space(name, 0.5)):
        for architecture in (space.draw(rng), space.draw(rng)):
            with torch.device("meta"):
                network = Subnet(space, architecture)
            assert space.cost(architecture, size) == Cost(*counted(network, size)) == network.cost(size)


@pytest.mark.parametrize("name", LISTED)
def test_published_networks_cost_what_their_independent_implementation_does(name: str) -> None:
    network = PUBLISHED[name]
    with torch.device("meta"):
        classifier = Classifier(Subnet(network.space, network.architecture), 1000, 1280)
        theirs = lite_reference.build(name)
    for size in (224, 97):
        assert counted(classifier, size) == counted(theirs, size)
    assert round(counted(classifier, 32)[1] / 1e6, 1) == LISTED[name]


def test_a_stage_halves_the_map_or_keeps_it() -> None:
    space = SearchSpace("s", 8, (8, 12, 16), (1, 2, 1), ("mbconv3_k3",), (1, 2, 1), 4, "efficientnet-lite")
    assert space.stem_channels == 4 and space.map_stages == [0, 2]
    assert space.map_channels == [8, 16] and space.strides == [2, 4]
    assert [block.stride for block in space.blocks] == [1, 2, 1, 1]
    maps = Subnet(space, space.uniform("mbconv3_k3")).eval()(torch.rand(1, 3, 33, 64))
    assert [tuple(x.shape[1:]) for x in maps] == [(8, 17, 32), (16, 9, 16)]
    assert replace(space, stage_strides=()).stage_strides == (2, 2, 2)


def test_only_ops_of_the_paper_need_rising_widths() -> None:
    narrow = SearchSpace("narrow", 8, (16, 8, 8), (1, 1, 1), ("mbconv3_k3",))
    assert narrow.map_channels == [16, 8, 8]
    with pytest.raises(UserError, match="each stage must be wider than the one before it"):
        replace(narrow, ops=("mbconv3_k3", "shuffle3"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stage_strides": (2, 2)}, r"stage_strides \(2, 2\) must be 1 or 2, one for each stage"),
        ({"stage_strides": (2, 3, 2)}, r"stage_strides \(2, 3, 2\) must be 1 or 2"),
        ({"family": "resnet"}, "family 'resnet' is unknown; choose from shufflenet, efficientnet-lite"),
        ({"first_block": 6}, "multiples of 4"),
        ({"first_block": -4}, "multiples of 4"),
        ({"first_block": 0}, "multiples of 4"),
        ({"first_block": 2**20}, "must be at most"),
        ({"family": "shufflenet"}, "first_block 4: networks of family shufflenet have none"),
    ],
)
def test_layouts_that_cannot_be_are_refused(changes: dict[str, object], said: str) -> None:
    space = SearchSpace("s", 8, (8, 12, 16), (1, 2, 1), ("mbconv3_k3",), (1, 2, 1), 4, "efficientnet-lite")
    with pytest.raises(UserError, match=f"space s: .*{said}"):
        replace(space, **changes)
