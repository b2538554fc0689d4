"""The padding of mobile networks, against an independent implementation of TensorFlow's."""

import pytest
import torch
from efficientnet_lite_pytorch.utils import Conv2dDynamicSamePadding
from hypothesis import given, settings
from hypothesis import strategies as st

from detnas.models.ops.layer_style import LayerStyle
from detnas.models.ops.mbconv import MBConv, TensorFlowConv2d
from detnas.spaces import Block

SIDES = st.integers(1, 12)
STYLES = [LayerStyle(padding, 1e-3) for padding in ("symmetric", "tensorflow")]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([3, 5, 7]), st.sampled_from([1, 4]), SIDES, SIDES)
def test_convolutions_of_stride_2_are_padded_as_tensorflow_does(
    kernel: int, groups: int, height: int, width: int
) -> None:
    ours = TensorFlowConv2d(4, 8, kernel, 2, groups=groups, bias=False)
    theirs = Conv2dDynamicSamePadding(4, 8, kernel, 2, groups=groups, bias=False)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 4, height, width)
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.padding)
def test_paddings_differ_where_sides_are_even_only(style: LayerStyle) -> None:
    block = MBConv(Block(0, 4, 8, 2), 3, 3, style).eval()
    symmetric = MBConv(Block(0, 4, 8, 2), 3, 3, STYLES[0]).eval()
    symmetric.load_state_dict(block.state_dict())
    with torch.no_grad():
        for size, is_equal in ((9, True), (8, style.padding == "symmetric")):
            x = torch.randn(1, 4, size, size)
            assert torch.allclose(block(x), symmetric(x)) == is_equal


@pytest.mark.parametrize(("block", "is_residual"), [
    (Block(0, 8, 8, 1), True), (Block(0, 8, 8, 2), False), (Block(0, 8, 12, 1), False),
])  # fmt: skip
def test_the_input_is_added_where_the_shape_stays(block: Block, is_residual: bool) -> None:
    module = MBConv(block, 6, 5, STYLES[1]).eval()
    torch.nn.init.zeros_(module.layers[-2].weight)  # type: ignore[arg-type]
    x = torch.randn(2, 8, 6, 6)
    y = module(x)
    assert torch.equal(y, x) if is_residual else not y.any()
