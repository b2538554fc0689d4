"""A backbone as a Python file that needs only torch."""

import ast
import inspect
from pathlib import Path
from typing import Any

from detnas.models.ops import OPS, PaperOp, shuffle
from detnas.models.weights import BackboneInfo, DetectorInfo
from detnas.spaces.block import Block
from detnas.utils.errors import UserError
from detnas.version import __version__

HEAD = '''"""A backbone that detnas has found; needs only torch. What it is, is below.

    from NAME import load, normalize    # NAME is this file's
    network = load()                    # with the weights in NAME.pt, beside this file
    maps = network(normalize(images))   # RGB (N, 3, H, W) float in 0-1 -> maps of strides STRIDES
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
'''

TAIL = '''

class Backbone(nn.Module):
    """Images (N, 3, H, W), normalized -> one map a stage, (N, CHANNELS[i], H / STRIDES[i], W / STRIDES[i])."""

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
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    images = (images - mean[:, None, None].to(images)) / std[:, None, None].to(images)
    return images.flip(-3) if CHANNEL_ORDER == "bgr" else images


def load(weights: str | Path = Path(__file__).with_suffix(".pt")) -> Backbone:
    """The network with its weights, in evaluation mode on the CPU."""
    network = Backbone().to(memory_format=torch.channels_last)
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.eval()
'''

ABOUT = {
    "DETNAS": "The version of detnas that wrote this file.",
    "SPACE": "The search space.",
    "ARCHITECTURE": "The op of each block, by its number in that space.",
    "STRIDES": "Of the maps, in pixels of the image.",
    "CHANNELS": "Of the maps, which are the outputs of the last block of each stage.",
    "STEM": "Channels of the first convolution, of stride 2.",
    "SHUFFLE": "How blocks split channels.",
    "MEAN": "Subtracted from RGB values in 0-1.",
    "STD": "RGB values are divided by this, after the mean is subtracted.",
    "CHANNEL_ORDER": "The order in which the network then takes them.",
    "BLOCKS": "The network: each block, its kernel, and whether its main branch is Xception's.",
}
"""The constants of the file."""


def definition(info: BackboneInfo | DetectorInfo) -> str:
    """The text of the file. The blocks' code is that of `detnas.models.ops.shuffle`, word for word.

    Raises `UserError` for a network with other ops than the paper's.
    """
    assert info.architecture is not None
    blocks, others = [], set()
    for op, block in zip(info.architecture.ops, info.space.blocks, strict=True):
        name = info.space.ops[op]
        spec = OPS.get(name)
        if isinstance(spec, PaperOp):
            blocks.append((block, spec.kernel, spec.is_xception))
        else:
            others.add(name)
    if others:
        raise UserError(
            f"--format py: writes the code of the paper's ops only, and this network has {', '.join(sorted(others))}; "
            "choose torch or onnx-backbone"
        )
    space, settings = info.space, info.preprocessing
    values = {
        "DETNAS": __version__,
        "SPACE": space.name,
        "ARCHITECTURE": str(info.architecture),
        "STRIDES": space.strides,
        "CHANNELS": list(space.channels),
        "STEM": space.stem,
        "SHUFFLE": info.shuffle,
        "MEAN": list(settings.image_mean),
        "STD": list(settings.image_std),
        "CHANNEL_ORDER": settings.channel_order,
        "BLOCKS": blocks,
    }
    constants = "\n".join(_constant(name, value) for name, value in values.items())
    return f"{HEAD}\n\n{inspect.getsource(Block)}\n\n{_code_of_blocks()}\n\n{constants}{TAIL}"


def _constant(name: str, value: Any) -> str:
    """The definition of a constant. Values come from a file, and only their `repr` becomes part of the code."""
    code = repr(value)
    if name == "BLOCKS":  # one a line
        code = "[\n" + "".join(f"    {one!r},\n" for one in value) + "]"
    kind = ": Shuffle" if name == "SHUFFLE" else ""
    return f'{name}{kind} = {code}\n"""{ABOUT[name]}"""\n'


def _code_of_blocks() -> str:
    """The module without its docstring and imports."""
    text = Path(shuffle.__file__).read_text()
    _docstring, *rest = ast.parse(text).body
    first = next(node for node in rest if not isinstance(node, ast.Import | ast.ImportFrom))
    return "".join(text.splitlines(keepends=True)[first.lineno - 1 :])
