"""A warm start for a supernet: every op of a block begins as the block's trained `shuffle3`.

Ours, not the paper's. A supernet whose ops all start at random learns nothing for a long time, because every step
meets another mixture of them: on small budgets that is the whole budget. Trained along one path first, and then
spread, it holds a working network on every path from the next step on.
"""

import torch
from torch import nn
from torch.nn.functional import pad

from detnas.models.backbone import Supernet
from detnas.models.blocks import Op


@torch.no_grad()
def spread(supernet: Supernet) -> None:
    """Make every op of every block compute what the block's `shuffle3` computes, as nearly as its form allows.

    Larger kernels are the 3x3 one with zeros around it: exactly the same function. Of the three units of `xception`
    one takes the weights of `shuffle3` and the others pass on what they get; it differs by the ReLU between them.
    All must be ops of detnas, `shuffle3` among them.
    """
    for block in supernet.choices:
        ops = {name: block.op(index) for index, name in enumerate(supernet.space.ops)}
        source = ops.pop("shuffle3")
        assert isinstance(source, Op)
        for name, op in ops.items():
            assert isinstance(op, Op)  # recipes with a warm start and ops of others are refused
            if name == "xception":
                _spread_to_xception(source, op)
            else:
                _spread_to_kernel(source, op)


def _spread_to_kernel(source: Op, target: Op) -> None:
    weights = source.state_dict()
    for name, tensor in target.state_dict().items():
        margin = (tensor.shape[-1] - weights[name].shape[-1]) // 2 if tensor.dim() == 4 else 0
        tensor.copy_(pad(weights[name], [margin] * 4) if margin else weights[name])


def _spread_to_xception(source: Op, target: Op) -> None:
    """`source.main` is pointwise 0-2, depthwise 3-4, pointwise 5-7; `target.main` thrice depthwise, pointwise."""
    if source.projection is not None and target.projection is not None:
        target.projection.load_state_dict(source.projection.state_dict())
    main = target.main
    for convolution in (main[0], main[5], main[7], main[10]):
        _make_identity(convolution)
    _copy(source.main[0:2], main[2:4])
    _copy(source.main[5:7], main[12:14])
    if target.projection is None:
        # With stride 2, where there is a projection, it downsamples before its first pointwise convolution, where
        # `shuffle3` has no kernel to give.
        _copy(source.main[3:5], main[5:7])


def _copy(sources: nn.Sequential, targets: nn.Sequential) -> None:
    for source, target in zip(sources, targets, strict=True):
        target.load_state_dict(source.state_dict())


def _make_identity(convolution: nn.Module) -> None:
    """Make a convolution, depthwise or pointwise, pass on what it gets."""
    assert isinstance(convolution, nn.Conv2d)
    nn.init.dirac_(convolution.weight, convolution.groups)
