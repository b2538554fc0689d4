"""How the weights of one MBConv block become those of another, with another kernel or fewer inner channels.

Once-for-all (Cai et al., ICLR 2020, section 3.3) takes the centers of larger kernels and the most important channels of
wider blocks, too; there, the norm of a channel's weights in the projection says how important it is. What a channel is
expected to add to the output says it better: the narrow blocks differ less from the wide ones
(`python -m research seeding`).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from detnas.models.ops.mbconv import MBConv

Importance = Callable[[MBConv], Tensor]
"""Gives each inner channel of a block a number, larger for those that matter more."""


def expected_response(block: MBConv) -> Tensor:
    """The standard deviation that each inner channel is expected to add to the block's output.

    That of its activation, ReLU6 of a normal variable with BN's shift and scale as mean and deviation, times the norm
    of the weights by which the projection takes it.
    """
    norm, weights = block.layers[-4], _convolution(block, -2).weight[:, :, 0, 0]
    points = torch.linspace(-4, 4, 161)
    density = torch.exp(-points.square() / 2)
    density /= density.sum()
    values = (norm.get_parameter("bias")[:, None] + norm.get_parameter("weight")[:, None] * points).clamp(0, 6)
    mean = (values * density).sum(dim=1, keepdim=True)
    deviation = ((values - mean).square() * density).sum(dim=1).sqrt()
    response: Tensor = deviation * weights.norm(dim=0)
    return response


def seed_mbconv(op: nn.Module, native: nn.Module, importance: Importance = expected_response) -> None:
    """Overwrite `op` by the weights of `native`, a block with the same input, output and stride.

    A larger kernel begins with zeros around the native one, a smaller one with its center. Fewer inner channels are the
    most important ones, in their order. BN has the native statistics.

    Raises `ValueError` if `native` is no such block, or `op` has more inner channels.
    """
    assert isinstance(op, MBConv)
    if not isinstance(native, MBConv):
        raise ValueError("can only begin with weights of a mobile network")
    if len(op.layers) != len(native.layers):
        has = "no expansion" if len(op.layers) < len(native.layers) else "an expansion"
        raise ValueError(f"has {has}, unlike the block that the weights are of")
    wanted, learned = _convolution(op, -5).out_channels, _convolution(native, -5).out_channels
    if wanted > learned:
        raise ValueError(f"has {wanted} inner channels, more than the {learned} that there are weights for")
    order = importance(native).detach().argsort(descending=True, stable=True)
    channels = order[:wanted].sort().values
    with torch.no_grad():
        for place, (mine, theirs) in enumerate(zip(op.layers, native.layers, strict=True)):
            is_last = place >= len(op.layers) - 2
            for name, tensor in mine.state_dict(keep_vars=True).items():
                value = theirs.state_dict()[name]
                if value.dim() and not is_last:
                    value = value[channels]
                elif isinstance(mine, nn.Conv2d):
                    value = value[:, channels]
                tensor.copy_(_fit_kernel(value, tensor.shape[-1]) if value.dim() == 4 else value)


def _convolution(block: MBConv, place: int) -> nn.Conv2d:
    """The depthwise convolution of a block at -5, its projection at -2."""
    layer = block.layers[place]
    assert isinstance(layer, nn.Conv2d)
    return layer


def _fit_kernel(weight: Tensor, side: int) -> Tensor:
    """A kernel with zeros around it, or its center."""
    margin = (side - weight.shape[-1]) // 2
    return functional.pad(weight, [margin] * 4)
