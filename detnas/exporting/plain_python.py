"""A backbone as a Python file that needs only torch."""

import ast
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

from detnas.exporting.family_code import FamilyCode, family_code
from detnas.models.ops import OPS
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
    """Images (N, 3, H, W), normalized -> one map a resolution, (N, CHANNELS[i], H / STRIDES[i], W / STRIDES[i])."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = make_stem()
        self.blocks = nn.ModuleList(make_op(*block) for block in BLOCKS)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = []
        x = self.stem(images)
        for index, block in enumerate(self.blocks, start=1):
            x = block(x)
            if index in MAP_BLOCKS:
                maps.append(x)
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


def definition(info: BackboneInfo | DetectorInfo) -> str:
    """The text of the file. The code of the layers is that of detnas's own modules, word for word.

    Raises `UserError` for a network with other ops than those of its family.
    """
    code = family_code(info.space.family)
    modules = "\n\n".join(_code(module) for module in code.modules)
    values = "\n".join(_constant(name, value, about) for name, (value, about) in constants(info).items())
    return f"{HEAD}\n\n{inspect.getsource(Block)}\n\n{modules}\n\n{values}\n{code.build}{TAIL}"


def constants(info: BackboneInfo | DetectorInfo) -> dict[str, tuple[Any, str]]:
    """The constants of the file: value and docstring by name. Raises `UserError` as `definition`."""
    space, preprocessing, code = info.space, info.preprocessing, family_code(info.space.family)
    return {
        "DETNAS": (__version__, "The version of detnas that wrote this file."),
        "SPACE": (space.name, "The search space."),
        "ARCHITECTURE": (str(info.architecture), "The op of each block, by its number in that space."),
        "STRIDES": (space.strides, "Of the maps, in pixels of the image."),
        "CHANNELS": (space.map_channels, "Of the maps."),
        "MAP_BLOCKS": (space.map_blocks, "After how many blocks each map is taken."),
        "STEM": (space.stem, "Channels of the first convolution, of stride 2."),
        **code.constants(info),
        "MEAN": (list(preprocessing.image_mean), "Subtracted from RGB values in 0-1."),
        "STD": (list(preprocessing.image_std), "RGB values are divided by this, after the mean is subtracted."),
        "CHANNEL_ORDER": (preprocessing.channel_order, "The order in which the network then takes them."),
        "BLOCKS": (_blocks(info, code), code.blocks),
    }


def _blocks(info: BackboneInfo | DetectorInfo, code: FamilyCode) -> list[tuple[Any, ...]]:
    """Each block with the settings of its op."""
    assert info.architecture is not None
    blocks, others = [], set()
    for op, block in zip(info.architecture.ops, info.space.blocks, strict=True):
        name = info.space.ops[op]
        settings = code.settings(OPS.get(name))
        if settings is None:
            others.add(name)
        else:
            blocks.append((block, *settings))
    if others:
        raise UserError(
            f"--format py: writes the code of the ops of family {info.space.family} only, and this network has "
            f"{', '.join(sorted(others))}; choose torch or onnx-backbone"
        )
    return blocks


def _constant(name: str, value: Any, about: str) -> str:
    """The definition of a constant. Values come from a file, and only their `repr` becomes part of the code."""
    code = repr(value)
    if name == "BLOCKS":  # one a line
        code = "[\n" + "".join(f"    {one!r},\n" for one in value) + "]"
    kind = ": Shuffle" if name == "SHUFFLE" else ""
    return f'{name}{kind} = {code}\n"""{about}"""\n'


def _code(module: ModuleType) -> str:
    """A module's text without its docstring and imports."""
    assert module.__file__ is not None
    text = Path(module.__file__).read_text()
    _docstring, *rest = ast.parse(text).body
    first = next(node for node in rest if not isinstance(node, ast.Import | ast.ImportFrom))
    start = min([first.lineno, *(one.lineno for one in getattr(first, "decorator_list", []))])
    return "".join(text.splitlines(keepends=True)[start - 1 :])
