"""The ops that a convolution of a detector's head can be."""

import copy

from torch import nn


def build_head_op(name: str, full: nn.Module, in_channels: int, out_channels: int) -> nn.Module:
    """The op `name` of `detnas.config.detector.HEAD_OPS` in place of `full`, torchvision's 3x3 convolution with norm
    and ReLU, from (N, in_channels, H, W) to (N, out_channels, H, W). `full` is that convolution itself."""
    if name == "full":
        return full
    if name == "skip":
        return nn.Identity()
    assert isinstance(full, nn.Sequential)
    depthwise = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False)
    pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=full[0].bias is not None)
    for layer in (depthwise, pointwise):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="linear" if layer is depthwise else "relu")
    if pointwise.bias is not None:
        nn.init.zeros_(pointwise.bias)
    return nn.Sequential(depthwise, pointwise, *copy.deepcopy(list(full)[1:]))
