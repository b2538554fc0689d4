"""An architecture as the parameters of an Optuna trial: one categorical parameter a block, and the resolution."""

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution

from detnas.spaces import Architecture, SearchSpace

RESOLUTION = "resolution"


def block_names(repeats: tuple[int, ...]) -> list[str]:
    """The parameter of each block, given the number of blocks in each stage: `stage1_block0` and so on."""
    return [f"stage{stage}_block{place}" for stage, blocks in enumerate(repeats, start=1) for place in range(blocks)]


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """The ops that are allowed at each block, and the resolutions if there are any, by parameter."""
    found: dict[str, BaseDistribution] = (
        {RESOLUTION: CategoricalDistribution(space.resolutions)} if space.resolutions else {}
    )
    return found | {
        name: CategoricalDistribution([space.ops[op] for op in allowed])
        for name, allowed in zip(block_names(space.repeats), space.allowed_ops, strict=True)
    }


def parameters_of(architecture: Architecture, space: SearchSpace) -> dict[str, str | int]:
    """The name of the op of each block, and the resolution if there is a choice, by parameter."""
    resolution = {RESOLUTION: architecture.resolution} if architecture.resolution is not None else {}
    ops = zip(block_names(space.repeats), architecture.ops, strict=True)
    return resolution | {name: space.ops[op] for name, op in ops}


def architecture_from(parameters: Mapping[str, Any], space: SearchSpace) -> Architecture:
    """The architecture that has these parameters."""
    ops = [space.ops.index(parameters[name]) for name in block_names(space.repeats)]
    return space.architecture(ops, parameters.get(RESOLUTION))
