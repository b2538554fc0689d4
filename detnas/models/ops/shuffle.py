"""The modules of the paper's networks. `detnas export --format py` writes this file's code into the file that it makes.

Rule of the paper's space: BN after every convolution; ReLU only after pointwise ones; no biases.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from detnas.models.ops.channels_last import ChannelsLastStem
from detnas.spaces.block import Block

Shuffle = Literal["even_odd", "interleave"]
"""Which channels a stride-1 block passes on untouched and which it computes on.

`even_odd`: even ones, odd ones. `interleave`: the halves after a two-group channel shuffle. Equivalent for training,
not for loading weights trained under the other.
"""


def split_channels(x: Tensor, shuffle: Shuffle) -> tuple[Tensor, Tensor]:
    """Split `x` (N, C, H, W), C a multiple of 4, into (identity, main) of C/2 channels each."""
    n, c, h, w = x.shape
    if shuffle == "even_odd":
        pairs = x.reshape(n, c // 2, 2, h, w)
        return pairs[:, :, 0], pairs[:, :, 1]
    shuffled = x.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
    return shuffled[:, : c // 2], shuffled[:, c // 2 :]


class Stem(ChannelsLastStem):
    """Images (N, 3, H, W) -> (N, channels, H / 2, W / 2), rounded up."""

    def __init__(self, channels: int) -> None:
        # The bias is redundant before BN; the published networks have it.
        convolution = nn.Conv2d(3, channels, 3, stride=2, padding=1)
        super().__init__(convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


class Op(nn.Module):
    """One op of one block: (N, block.in_channels, H, W) -> (N, block.out_channels, H / stride, W / stride).

    The main branch is ShuffleNetV2's with one depthwise convolution of `kernel` pixels, or Xception's with three; its
    inner channels are `width` times half of the output's.
    Stride 1: half of the channels pass untouched, the main branch computes on the other half.
    Stride 2: all channels enter both the main branch and a projection, which keeps their number.
    """

    def __init__(
        self,
        block: Block,
        kernel: int,
        is_xception: bool = False,
        width: float = 1.0,
        shuffle: Shuffle = "even_odd",
    ) -> None:
        super().__init__()
        self.shuffle: Shuffle = shuffle
        side = block.in_channels if block.stride == 2 else block.in_channels // 2
        make_branch = xception_branch if is_xception else shuffle_branch
        middle = round(width * block.out_channels / 2)
        self.main = make_branch(side, middle, block.out_channels - side, block.stride, kernel)
        self.projection = projection_branch(block.in_channels, kernel) if block.stride == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        if self.projection is not None:
            return torch.cat((self.projection(x), self.main(x)), dim=1)
        identity, main = split_channels(x, self.shuffle)
        return torch.cat((identity, self.main(main)), dim=1)


def projection_branch(channels: int, kernel: int) -> nn.Sequential:
    """Depthwise of stride 2, pointwise."""
    return nn.Sequential(*_depthwise(channels, kernel, stride=2), *_pointwise(channels, channels))


def shuffle_branch(in_channels: int, middle: int, out_channels: int, stride: int, kernel: int) -> nn.Sequential:
    """Pointwise, one depthwise convolution, pointwise."""
    return nn.Sequential(
        *_pointwise(in_channels, middle), *_depthwise(middle, kernel, stride), *_pointwise(middle, out_channels)
    )


def xception_branch(in_channels: int, middle: int, out_channels: int, stride: int, kernel: int) -> nn.Sequential:
    """Three depthwise-separable units, depthwise first."""
    return nn.Sequential(
        *_depthwise(in_channels, kernel, stride),
        *_pointwise(in_channels, middle),
        *_depthwise(middle, kernel),
        *_pointwise(middle, middle),
        *_depthwise(middle, kernel),
        *_pointwise(middle, out_channels),
    )


def _depthwise(channels: int, kernel: int, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)
    return convolution, nn.BatchNorm2d(channels)


def _pointwise(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)
