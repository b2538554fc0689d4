"""A backbone as a Python file that needs only torch."""

import ast
import inspect
from pathlib import Path
from string import Template

from detnas.models.ops import OPS, PaperOp, shuffle
from detnas.models.weights import BackboneInfo, DetectorInfo
from detnas.spaces.block import Block
from detnas.utils.errors import UserError
from detnas.version import __version__

HEAD = Template('''"""A backbone of space $space: $architecture. Written by detnas $version; needs only torch.

    from NAME import load, normalize    # NAME is this file's
    network = load()                    # with the weights in NAME.pt, beside this file
    maps = network(normalize(images))   # RGB (N, 3, H, W) float in 0-1 -> maps of strides $strides
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

''')

TAIL = Template('''

STEM = $stem
"""Channels of the first convolution, of stride 2."""

BLOCKS = [
$rows
]
"""The network: each block, its kernel, and whether its main branch is Xception's."""

CHANNELS = $channels
"""Of the maps, which are the outputs of the last block of each stage."""

SHUFFLE: Shuffle = "$shuffle"


class Backbone(nn.Module):
    """Images (N, 3, H, W), normalized -> one map a stage, (N, CHANNELS[i], H / 2 ** (i + 2), W / 2 ** (i + 2))."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, STEM, 3, stride=2, padding=1), nn.BatchNorm2d(STEM), nn.ReLU(inplace=True)
        )
        self.blocks = nn.ModuleList(Op(*block, SHUFFLE) for block in BLOCKS)

    def forward(self, images: Tensor) -> list[Tensor]:
        # Depthwise convolutions are faster in this layout, on CPUs about twice.
        x = self.stem(images.contiguous(memory_format=torch.channels_last))
        maps: list[Tensor] = []
        for (block, _, _), op in zip(BLOCKS, self.blocks, strict=True):
            x = op(x)
            maps[block.stage :] = [x]  # a stage's last block's is what is left
        return maps


def normalize(images: Tensor) -> Tensor:
    """RGB images (N, 3, H, W) float in 0-1 -> what the network was trained on."""
    mean, std = torch.tensor($mean), torch.tensor($std)
    images = (images - mean[:, None, None].to(images)) / std[:, None, None].to(images)
    return images$flip


def load(weights: str | Path = Path(__file__).with_suffix(".pt")) -> Backbone:
    """The network with its weights, in evaluation mode on the CPU."""
    network = Backbone().to(memory_format=torch.channels_last)
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.eval()
''')


def definition(info: BackboneInfo | DetectorInfo) -> str:
    """The text of the file. The blocks' code is that of `detnas.models.ops.shuffle`, word for word.

    Raises `UserError` for a network with other ops than the paper's.
    """
    assert info.architecture is not None
    rows, others = [], set()
    for op, block in zip(info.architecture.ops, info.space.blocks, strict=True):
        name = info.space.ops[op]
        spec = OPS.get(name)
        if isinstance(spec, PaperOp):
            rows.append(f"    ({block}, {spec.kernel}, {spec.is_xception}),  # {name}")
        else:
            others.add(name)
    if others:
        raise UserError(
            f"--format py: writes the code of the paper's ops only, and this network has {', '.join(sorted(others))}; "
            "choose torch or onnx-backbone"
        )
    space, settings = info.space, info.preprocessing
    strides = ", ".join(map(str, space.strides))
    head = HEAD.substitute(space=space.name, architecture=info.architecture, version=__version__, strides=strides)
    tail = TAIL.substitute(
        stem=space.stem,
        rows="\n".join(rows),
        channels=list(space.channels),
        shuffle=info.shuffle,
        mean=list(settings.image_mean),
        std=list(settings.image_std),
        flip=".flip(-3)" if settings.channel_order == "bgr" else "",
    )
    return f"{head}\n{inspect.getsource(Block)}\n\n{_code_of_blocks()}{tail}"


def _code_of_blocks() -> str:
    """The module without its docstring and imports."""
    text = Path(shuffle.__file__).read_text()
    _docstring, *rest = ast.parse(text).body
    first = next(node for node in rest if not isinstance(node, ast.Import | ast.ImportFrom))
    return "".join(text.splitlines(keepends=True)[first.lineno - 1 :])
