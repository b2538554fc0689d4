"""Optuna's trials as what they evaluate: an architecture, in a slot of the search."""

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, Trial

from detnas.spaces import Architecture, SearchSpace

SLOT = "slot"
ORIGIN = "origin"


def block_names(repeats: tuple[int, ...]) -> list[str]:
    """The Optuna parameter of each block, given the blocks of each stage: `stage1_block0` and so on."""
    return [f"stage{stage}_block{place}" for stage, blocks in enumerate(repeats, start=1) for place in range(blocks)]


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """The choices of each block, as Optuna wants them."""
    names = block_names(space.repeats)
    return {
        name: CategoricalDistribution([space.ops[op] for op in allowed])
        for name, allowed in zip(names, space.allowed_ops, strict=True)
    }


def parameters(architecture: Architecture, space: SearchSpace) -> dict[str, str]:
    """Optuna's parameters of an architecture: one op name a block."""
    names = block_names(space.repeats)
    return {name: space.ops[op] for name, op in zip(names, architecture.ops, strict=True)}


def architecture_of(trial: Trial | FrozenTrial, space: SearchSpace) -> Architecture:
    """The architecture that a trial evaluates."""
    return space.architecture([space.ops.index(trial.params[name]) for name in block_names(space.repeats)])


def index_of(trial: Trial | FrozenTrial) -> int:
    """Which of the search's evaluations a trial is, from 0: as it was enqueued, or else its number."""
    return int(trial.user_attrs.get(SLOT, trial.number))


def fitness_of(trial: FrozenTrial) -> float:
    """The first objective of a finished trial."""
    return float(trial.values[0])
