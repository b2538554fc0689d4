"""The ops that a block can be.

Rule of the paper's space: BN after every convolution; ReLU only after pointwise ones; no biases.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from detnas.spaces.architecture import KERNELS
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


class Op(nn.Module):
    """One op of one block: (N, block.in_channels, H, W) -> (N, block.out_channels, H / stride, W / stride).

    Stride 1: half of the channels pass untouched, the main branch computes on the other half.
    Stride 2: all channels enter both the main branch and a projection, which keeps their number.
    """

    def __init__(self, name: str, block: Block, shuffle: Shuffle = "even_odd") -> None:
        super().__init__()
        self.shuffle: Shuffle = shuffle
        kernel = KERNELS[name]
        side = block.in_channels if block.stride == 2 else block.in_channels // 2
        self.main = MAIN_BRANCHES[name](side, block.out_channels // 2, block.out_channels - side, block.stride)
        self.projection = (
            nn.Sequential(
                *_depthwise(block.in_channels, kernel, stride=2), *_pointwise(block.in_channels, block.in_channels)
            )
            if block.stride == 2
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.projection is not None:
            return torch.cat((self.projection(x), self.main(x)), dim=1)
        identity, main = split_channels(x, self.shuffle)
        return torch.cat((identity, self.main(main)), dim=1)


def shuffle_branch(in_channels: int, middle: int, out_channels: int, stride: int, *, kernel: int) -> nn.Sequential:
    """Pointwise, one depthwise convolution of size `kernel`, pointwise."""
    return nn.Sequential(
        *_pointwise(in_channels, middle), *_depthwise(middle, kernel, stride), *_pointwise(middle, out_channels)
    )


def xception_branch(in_channels: int, middle: int, out_channels: int, stride: int) -> nn.Sequential:
    """Three depthwise-separable 3x3 units, depthwise first."""
    return nn.Sequential(
        *_depthwise(in_channels, 3, stride),
        *_pointwise(in_channels, middle),
        *_depthwise(middle, 3),
        *_pointwise(middle, middle),
        *_depthwise(middle, 3),
        *_pointwise(middle, out_channels),
    )


MAIN_BRANCHES: dict[str, Callable[[int, int, int, int], nn.Sequential]] = {
    "shuffle3": partial(shuffle_branch, kernel=3),
    "shuffle5": partial(shuffle_branch, kernel=5),
    "shuffle7": partial(shuffle_branch, kernel=7),
    "xception": xception_branch,
}


def _depthwise(channels: int, kernel: int, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)
    return convolution, nn.BatchNorm2d(channels)


def _pointwise(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)
