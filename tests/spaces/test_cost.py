"""Costs: the official figures to the unit, and the real modules counted one by one."""

import json

import numpy as np
import pytest
import torch
from paths import TESTS
from torch import nn

from detnas.models.backbone import Subnet
from detnas.models.supernet import Supernet
from detnas.spaces import PAPER_OPS, Architecture, Size, search_space
from detnas.spaces.cost import to_size

OFFICIAL = TESTS / "fixtures" / "official_flops.json"


@pytest.fixture(scope="module")
def official() -> dict:
    return json.loads(OFFICIAL.read_text())


def count(module: nn.Module, shape: tuple[int, ...]) -> tuple[int, int]:
    """MACs of the convolutions that run, and parameters of the modules that run, counted by hooks."""
    macs, params = 0, 0

    def hook(layer: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal macs, params
        params += sum(parameter.numel() for parameter in layer.parameters(recurse=False))
        if isinstance(layer, nn.Conv2d):
            macs += output[0].numel() * layer.weight[0].numel()

    handles = [layer.register_forward_hook(hook) for layer in module.modules()]
    with torch.no_grad():
        module.eval()(torch.zeros(1, *shape))
    for handle in handles:
        handle.remove()
    return macs, params


@pytest.mark.parametrize(("name", "space"), [("300M", "small"), ("1.3G", "large")])
def test_all_official_paths_cost_the_same_to_the_unit(official: dict, name: str, space: str) -> None:
    paths = official["paths"][f"DETNAS-COCO-FPN-{name}-search"]
    for op in range(4):
        assert search_space(space).cost(search_space(space).uniform(PAPER_OPS[op])).macs == paths[str(op)]
    for ops, macs in paths["random"]:
        assert search_space(space).cost(search_space(space).architecture(ops)).macs == macs


@pytest.mark.parametrize(("name", "space"), [("300M", "small"), ("1.3G", "large")])
def test_the_table_adds_up_to_the_official_supernet(official: dict, name: str, space: str) -> None:
    table = search_space(space).cost_table()
    params = table.stem.params + sum(sum(row.values()) for row in table.of("params"))
    assert params == official["models"][f"DETNAS-COCO-FPN-{name}-search"]["params"]


@pytest.mark.parametrize("size", [224, 225, (97, 63), (33, 120), 32, 1])
def test_whole_networks_cost_what_their_modules_cost_at_any_size(size: int | Size) -> None:
    space = search_space("tiny")
    rng = np.random.default_rng(0)
    for _ in range(2):
        architecture = space.architecture(rng.integers(4, size=len(space.blocks)).tolist())
        cost = space.cost(architecture, size)
        subnet = Subnet(space, architecture)
        assert (cost.macs, cost.params) == count(subnet, (3, *to_size(size)))
        assert cost.params == sum(parameter.numel() for parameter in subnet.parameters())


def test_a_supernet_path_costs_what_the_table_says() -> None:
    space = search_space("tiny", 0.5)
    supernet = Supernet(space)
    architecture = Architecture.parse("03 21 3012 33")
    supernet.activate(architecture)
    assert count(supernet, (3, 65, 65)) == (space.cost(architecture, 65).macs, space.cost(architecture, 65).params)


def test_a_table_wants_one_op_for_each_block() -> None:
    with pytest.raises(ValueError, match="zip"):
        search_space("tiny").cost_table().cost(Architecture(((0,) * 9,)))
