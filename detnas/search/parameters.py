"""An architecture as the parameters of an Optuna trial: one categorical parameter for each choice."""

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution

from detnas.spaces import Architecture, SearchSpace


def block_names(repeats: tuple[int, ...]) -> list[str]:
    """The parameter of each block, given the number of blocks in each stage: `stage1_block0` and so on."""
    return [f"stage{stage}_block{place}" for stage, blocks in enumerate(repeats, start=1) for place in range(blocks)]


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """What each of the space's `choices` can be, by parameter."""
    options = _options(space).items()
    chosen = zip(options, space.choices, strict=True)
    return {name: CategoricalDistribution([known[index] for index in allowed]) for (name, known), allowed in chosen}


def parameters_of(architecture: Architecture, space: SearchSpace) -> dict[str, str | int]:
    """The resolution, if there is a choice, and the name of the op of each block and convolution, by parameter."""
    chosen = zip(_options(space).items(), space.encode(architecture), strict=True)
    return {name: known[index] for (name, known), index in chosen}


def architecture_from(parameters: Mapping[str, Any], space: SearchSpace) -> Architecture:
    """The architecture that has these parameters."""
    return space.decode([known.index(parameters[name]) for name, known in _options(space).items()])


def _options(space: SearchSpace) -> dict[str, Sequence[str | int]]:
    """What the indices of each of the space's `choices` stand for, by parameter."""
    resolution: dict[str, Sequence[str | int]] = {"resolution": space.resolutions} if space.resolutions else {}
    blocks = dict.fromkeys(block_names(space.repeats), space.ops)
    towers = enumerate(space.head.towers, start=1)
    convolutions = [f"head{number}_conv{place}" for number, tower in towers for place in range(len(tower))]
    return resolution | blocks | dict.fromkeys(convolutions, space.head.ops)
