"""Backbones, and the plain network of one architecture of a search space."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detnas.models.families.spec import Family
from detnas.models.ops.custom import own_modules
from detnas.models.ops.shuffle import Shuffle
from detnas.models.ops.spec import OpSpec
from detnas.spaces.architecture import Architecture
from detnas.spaces.block import Block
from detnas.spaces.cost import Cost, Size
from detnas.spaces.ops import find_family, find_op
from detnas.spaces.space import SearchSpace


@dataclass(frozen=True)
class FeatureInfo:
    """Describes a backbone's maps as timm does with `features_only=True`, for code that is written for timm."""

    backbone: "Backbone"

    def channels(self) -> list[int]:
        """The maps' channels, finest map first."""
        return list(self.backbone.channels)

    def reduction(self) -> list[int]:
        """The maps' strides in pixels, finest map first."""
        return list(self.backbone.strides)


class Backbone(nn.Module):
    """Images (N, 3, H, W) -> one map a resolution, (N, channels[i], H / strides[i], W / strides[i]), sizes rounded up.
    Images are float32, normalized as the network was trained, of any size."""

    channels: list[int]
    strides: list[int]
    family = "shufflenet"
    """By which the classifier's head is built, see `detnas.models.families`."""

    @property
    def feature_info(self) -> FeatureInfo:
        """Channels and strides by timm's names."""
        return FeatureInfo(self)

    @property
    def parts(self) -> list[list[nn.Module]]:
        """The modules of the stem, and of each stage, from input to output."""
        raise NotImplementedError


class SpaceBackbone(Backbone):
    """Stem and stages of a search space."""

    def __init__(self, space: SearchSpace, make_block: Callable[[int, Block], nn.Module]) -> None:
        super().__init__()
        self.space = space
        self.family = space.family
        self.channels = space.map_channels
        self.strides = space.strides
        family: Family = find_family(space.family)
        self.stem = family.build_stem(space)
        self.blocks = nn.ModuleList(make_block(index, block) for index, block in enumerate(space.blocks))
        self._map_blocks = space.map_blocks
        family.initialize(self.stem, own_modules(self))

    @property
    def parts(self) -> list[list[nn.Module]]:
        stages: list[list[nn.Module]] = [[] for _ in self.space.repeats]
        for block, module in zip(self.space.blocks, self.blocks, strict=True):
            stages[block.stage].append(module)
        return [[self.stem], *stages]

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = []
        x = self.stem(images)
        for index, block in enumerate(self.blocks, start=1):
            x = block(x)
            if index in self._map_blocks:
                maps.append(x)
        return maps


class Subnet(SpaceBackbone):
    """The plain network of one architecture, with fresh weights.

    `shuffle` is how blocks split channels: "even_odd" as the released single networks do, "interleave" as the released
    supernets. Raises `UserError` if the architecture does not fit the space.
    """

    def __init__(self, space: SearchSpace, architecture: Architecture, shuffle: Shuffle = "even_odd") -> None:
        space.check(architecture)
        ops = architecture.ops
        super().__init__(space, lambda index, block: build_op(space.ops[ops[index]], block, shuffle))
        self.architecture = architecture
        self.shuffle: Shuffle = shuffle

    def cost(self, size: int | Size = 224) -> Cost:
        """MACs and parameters for one image of `size` pixels, height and width, or one side of a square. Raises
        `UserError` if a side is below 1."""
        return self.space.cost(self.architecture, size)


def build_op(name: str, block: Block, shuffle: Shuffle) -> nn.Module:
    """The op `name` of a space at `block`, with fresh weights."""
    spec: OpSpec = find_op(name)
    return spec.build(block, shuffle)


def find_backbone(model: nn.Module) -> Backbone:
    """The one backbone inside `model` (a classifier, a detector, or itself a backbone)."""
    (backbone,) = (module for module in model.modules() if isinstance(module, Backbone))
    return backbone


def shrink_depthwise(backbone: Backbone) -> None:
    """Divide fresh depthwise kernels by their side: a standard deviation of one over the root of the fan-in.

    Custom ops keep their weights. The official initialization has a standard deviation of 1 whatever the side. BN makes
    the scale irrelevant for what a kernel computes, but not for how fast it changes: a step of the optimizer changes
    the direction of large weights less.
    """
    for module in own_modules(backbone):
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            with torch.no_grad():
                module.weight /= module.weight[0].numel() ** 0.5
