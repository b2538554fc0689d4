"""The modules of mobile networks. `detnas export --format py` writes this file's code into the file that it makes.

BN after every convolution; ReLU6 after all but the last of a block; no biases.
"""

from torch import Tensor, nn

from detnas.models.ops.channels_last import ChannelsLastStem
from detnas.models.ops.layer_style import LayerStyle
from detnas.spaces.block import Block


class TensorFlowConv2d(nn.Conv2d):
    """A convolution of stride 2 that is padded as TensorFlow's "SAME": a map of even size gets one row less above, and
    one column less on the left, than a symmetric padding of kernel // 2 would give."""

    def forward(self, x: Tensor) -> Tensor:
        side = self.kernel_size[0] // 2
        height, width = x.shape[-2:]
        x = nn.functional.pad(x, (side - 1 + width % 2, side, side - 1 + height % 2, side))
        return nn.functional.conv2d(x, self.weight, None, self.stride, 0, 1, self.groups)


def conv_bn(
    in_channels: int, out_channels: int, kernel: int, stride: int, groups: int, style: LayerStyle
) -> list[nn.Module]:
    """A convolution without bias, and BN."""
    convolution: nn.Conv2d
    if stride == 2 and style.padding == "tensorflow":
        convolution = TensorFlowConv2d(in_channels, out_channels, kernel, stride, groups=groups, bias=False)
    else:
        convolution = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(out_channels, eps=style.bn_eps)]


class MBConv(nn.Module):
    """One op of one block: (N, block.in_channels, H, W) -> (N, block.out_channels, H / stride, W / stride), rounded up.

    A pointwise convolution to `expansion` times the channels (none if that is 1), a depthwise one of `kernel` pixels, a
    pointwise one without activation; added to the input where the shape stays the same.
    """

    def __init__(self, block: Block, expansion: int, kernel: int, style: LayerStyle) -> None:
        super().__init__()
        inner = block.in_channels * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [*conv_bn(block.in_channels, inner, 1, 1, 1, style), nn.ReLU6(inplace=True)]
        layers += [*conv_bn(inner, inner, kernel, block.stride, inner, style), nn.ReLU6(inplace=True)]
        layers += conv_bn(inner, block.out_channels, 1, 1, 1, style)
        self.layers = nn.Sequential(*layers)
        self.is_residual = block.stride == 1 and block.in_channels == block.out_channels

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.is_residual else y


class MobileStem(ChannelsLastStem):
    """Images (N, 3, H, W) -> (N, first_block, H / 2, W / 2), rounded up: a 3x3 convolution to `channels`, then a block
    without expansion to `first_block` channels, if there is one."""

    def __init__(self, channels: int, first_block: int | None, style: LayerStyle) -> None:
        super().__init__(*conv_bn(3, channels, 3, 2, 1, style), nn.ReLU6(inplace=True))
        if first_block is not None:
            self.append(MBConv(Block(0, channels, first_block, 1), 1, 3, style))
