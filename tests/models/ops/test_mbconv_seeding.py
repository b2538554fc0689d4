"""Blocks of mobile networks that begin with the weights of others."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import randomize
from small_recipe import assert_same
from torch import Tensor, nn
from torch.nn import functional

from detnas.models.ops.layer_style import LayerStyle
from detnas.models.ops.mbconv import MBConv
from detnas.models.ops.mbconv_seeding import expected_response, seed_mbconv
from detnas.models.ops.mobile import MBConvOp, SkipOp
from detnas.spaces import Block

BLOCKS = st.builds(
    Block,
    stage=st.just(0),
    in_channels=st.sampled_from([4, 8]),
    out_channels=st.sampled_from([4, 8, 12]),
    stride=st.sampled_from([1, 2]),
)
STYLES = st.sampled_from([LayerStyle("tensorflow", 1e-3), LayerStyle("symmetric", 1e-5)])
KERNELS = st.sampled_from([3, 5])
SIDES = st.integers(1, 9)
SEEDS = st.integers(0, 2**32)
PROPERTY = settings(max_examples=40, deadline=None)


def trained(block: Block, expansion: int, kernel: int, style: LayerStyle, seed: int) -> MBConv:
    """A block with weights and BN statistics that a trained one could have, in evaluation mode."""
    torch.manual_seed(seed)
    made = MBConv(block, expansion, kernel, style).eval()
    randomize(made, seed, variance=(0.2, 2))
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.num_batches_tracked.fill_(seed % 1000)  # type: ignore[union-attr]
    return made


def seeded(native: MBConv, block: Block, expansion: int, kernel: int, style: LayerStyle) -> MBConv:
    op = MBConv(block, expansion, kernel, style).eval()
    before = copy.deepcopy(native.state_dict())
    seed_mbconv(op, native)
    assert_same(dict(native.state_dict()), dict(before))
    return op


def compute(module: nn.Module, block: Block, height: int, width: int) -> Tensor:
    with torch.no_grad():
        x = torch.randn(2, block.in_channels, height, width, generator=torch.Generator().manual_seed(3))
        y: Tensor = module(x)
        return y


@PROPERTY
@given(BLOCKS, st.sampled_from([1, 3, 6]), KERNELS, STYLES, SEEDS)
def test_the_native_op_takes_the_weights_as_they_are(
    block: Block, expansion: int, kernel: int, style: LayerStyle, seed: int
) -> None:
    native = trained(block, expansion, kernel, style, seed)
    op = seeded(native, block, expansion, kernel, style)
    assert_same(dict(op.state_dict()), dict(native.state_dict()))


@PROPERTY
@given(BLOCKS, st.sampled_from([(3, 5), (3, 7), (5, 7)]), STYLES, SIDES, SIDES, SEEDS)
def test_a_larger_kernel_computes_the_same(
    block: Block, kernels: tuple[int, int], style: LayerStyle, height: int, width: int, seed: int
) -> None:
    native = trained(block, 6, kernels[0], style, seed)
    op = seeded(native, block, 6, kernels[1], style)
    torch.testing.assert_close(compute(op, block, height, width), compute(native, block, height, width))


@PROPERTY
@given(BLOCKS, STYLES, SEEDS)
def test_a_smaller_kernel_is_the_center(block: Block, style: LayerStyle, seed: int) -> None:
    native = trained(block, 6, 5, style, seed)
    expected = dict(native.state_dict())
    expected["layers.3.weight"] = expected["layers.3.weight"][:, :, 1:4, 1:4]
    assert_same(dict(seeded(native, block, 6, 3, style).state_dict()), expected)


@PROPERTY
@given(BLOCKS, st.sampled_from([2, 3, 5]), STYLES, SEEDS)
def test_fewer_inner_channels_are_the_most_important_in_their_order(
    block: Block, expansion: int, style: LayerStyle, seed: int
) -> None:
    """With their rows of each layer, and their BN; the other weights of the projection, and its BN, stay."""
    native = trained(block, 6, 3, style, seed)
    weights = {name: tensor.numpy() for name, tensor in native.state_dict().items()}
    norms = expected_response(native).tolist()
    kept = sorted(sorted(range(len(norms)), key=lambda channel: -norms[channel])[: expansion * block.in_channels])
    expected = {}
    for name, array in weights.items():
        layer = int(name.split(".")[1])
        if name == "layers.6.weight":
            array = array[:, kept]
        elif layer < 6 and array.ndim:
            array = array[kept]
        expected[name] = torch.from_numpy(array.copy() if array.ndim else np.array(array))
    assert_same(dict(seeded(native, block, expansion, 3, style).state_dict()), expected)


@PROPERTY
@given(BLOCKS, st.sampled_from([(3, 3), (3, 5), (5, 5)]), STYLES, SIDES, SIDES, SEEDS, st.booleans())
def test_a_block_whose_dropped_channels_the_projection_ignores_computes_the_same(
    block: Block, kernels: tuple[int, int], style: LayerStyle, height: int, width: int, seed: int, training: bool
) -> None:
    native = trained(block, 6, kernels[0], style, seed)
    dropped = np.random.default_rng(seed).permutation(6 * block.in_channels)[: 3 * block.in_channels]
    with torch.no_grad():
        native.get_parameter("layers.6.weight")[:, dropped] = 0
    op = seeded(native, block, 3, kernels[1], style)
    if training and height * width > 4:  # BN needs several values
        op.train()
        native.train()
    torch.testing.assert_close(
        compute(op, block, height, width), compute(native, block, height, width), rtol=1e-4, atol=1e-5
    )


def test_of_equally_important_channels_the_first_are_taken() -> None:
    block, style = Block(0, 4, 4, 1), LayerStyle("symmetric", 1e-5)
    native = trained(block, 6, 3, style, 0)
    for name in ("layers.4.weight", "layers.4.bias", "layers.6.weight"):
        nn.init.ones_(native.get_parameter(name))
    op = seeded(native, block, 3, 3, style)
    assert torch.equal(op.get_parameter("layers.0.weight"), native.get_parameter("layers.0.weight")[:12])


def test_another_measure_of_importance_can_be_given() -> None:
    block, style = Block(0, 4, 4, 1), LayerStyle("symmetric", 1e-5)
    native = trained(block, 6, 3, style, 0)
    op = MBConv(block, 3, 3, style)
    seed_mbconv(op, native, lambda given: torch.arange(24))
    assert torch.equal(op.get_parameter("layers.0.weight"), native.get_parameter("layers.0.weight")[12:])


def test_a_channel_matters_by_what_it_is_expected_to_add_to_the_output() -> None:
    block, style = Block(0, 4, 8, 1), LayerStyle("symmetric", 1e-5)
    native = trained(block, 6, 3, style, 0)
    scale, shift = native.get_parameter("layers.4.weight"), native.get_parameter("layers.4.bias")
    normal = torch.randn(200_000, 24, generator=torch.Generator().manual_seed(0))
    deviation = functional.relu6(shift + scale * normal).std(dim=0)
    expected = deviation * native.get_parameter("layers.6.weight").flatten(1).square().sum(dim=0).sqrt()
    torch.testing.assert_close(expected_response(native), expected, rtol=0.02, atol=1e-4)


def test_a_skipped_block_has_nothing_to_begin_with() -> None:
    block, style = Block(0, 4, 4, 1), LayerStyle("symmetric", 1e-5)
    skip = SkipOp().build(block, "even_odd")
    SkipOp().seed(skip, trained(block, 6, 3, style, 0))
    assert not skip.state_dict()


def test_blocks_that_cannot_begin_with_another_are_refused() -> None:
    block, style = Block(0, 4, 4, 1), LayerStyle("symmetric", 1e-5)
    native = trained(block, 3, 3, style, 0)
    for expansion, said in ((6, "has 24 inner channels, more than the 12 that there are"), (1, "has no expansion, ")):
        op = MBConvOp(expansion, 3, style)
        with pytest.raises(ValueError, match=said):
            op.seed(op.build(block, "even_odd"), native)
    with pytest.raises(ValueError, match="has an expansion, unlike the block that the weights are of"):
        seed_mbconv(native, trained(block, 1, 3, style, 0))
    with pytest.raises(ValueError, match="can only begin with weights of a mobile network"):
        seed_mbconv(native, nn.Identity())
