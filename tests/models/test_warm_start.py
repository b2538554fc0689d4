"""The warm start: what every op begins as."""

import pytest
import torch
from small_models import SPACE

from detnas.models.backbone import Supernet
from detnas.models.warm_start import spread
from detnas.spaces import Architecture


@pytest.fixture
def supernet() -> Supernet:
    torch.manual_seed(0)
    supernet = Supernet(SPACE)
    supernet.train()
    supernet.activate(SPACE.uniform("shuffle3"))
    for _ in range(3):  # BN statistics of its own, so that copying them shows
        supernet(torch.rand(4, 3, 64, 64))
    spread(supernet)
    return supernet.eval()


@pytest.mark.parametrize("text", ["11 1 11 1", "22 2 22 2", "01 2 12 0"])
def test_larger_kernels_begin_as_the_same_function(supernet: Supernet, text: str) -> None:
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        supernet.activate(SPACE.uniform("shuffle3"))
        expected = supernet(images)
        supernet.activate(Architecture.parse(text))
        for ours, theirs in zip(supernet(images), expected, strict=True):
            torch.testing.assert_close(ours, theirs)


def test_one_unit_of_xception_is_that_of_shuffle3_and_the_others_pass_on(supernet: Supernet) -> None:
    """With BN out of the way, it is `shuffle3` with one ReLU more."""
    shuffle3, xception = (supernet.blocks[1].ops[place].main for place in (0, 3))  # a block of stride 1
    for module in (*shuffle3, *xception):
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            torch.nn.init.ones_(module.weight)
            torch.nn.init.zeros_(module.bias)
            module.eps = 0.0
    x = torch.rand(2, 4, 8, 8)
    with torch.no_grad():
        depthwise = shuffle3[:5](x).relu()
        torch.testing.assert_close(xception(x), shuffle3[5:](depthwise))


def test_ops_share_no_memory_after_the_spread(supernet: Supernet) -> None:
    addresses = [parameter.data_ptr() for parameter in supernet.parameters()]
    assert len(set(addresses)) == len(addresses)
