"""An architecture as the parameters of an Optuna trial: one categorical parameter a block."""

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution

from detnas.spaces import Architecture, SearchSpace


def block_names(repeats: tuple[int, ...]) -> list[str]:
    """The parameter of each block, given the number of blocks in each stage: `stage1_block0` and so on."""
    return [f"stage{stage}_block{place}" for stage, blocks in enumerate(repeats, start=1) for place in range(blocks)]


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """The ops that are allowed at each block, by parameter."""
    return {
        name: CategoricalDistribution([space.ops[op] for op in allowed])
        for name, allowed in zip(block_names(space.repeats), space.allowed_ops, strict=True)
    }


def parameters_of(architecture: Architecture, space: SearchSpace) -> dict[str, str]:
    """The name of the op of each block, by parameter."""
    return {name: space.ops[op] for name, op in zip(block_names(space.repeats), architecture.ops, strict=True)}


def architecture_from(parameters: Mapping[str, Any], space: SearchSpace) -> Architecture:
    """The architecture that has these parameters."""
    return space.architecture([space.ops.index(parameters[name]) for name in block_names(space.repeats)])
