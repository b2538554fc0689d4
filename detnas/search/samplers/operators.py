"""The variation operators of the evolutionary searches: mutation and crossover."""

from collections.abc import Sequence

import numpy as np

from detnas.spaces import Architecture, SearchSpace


def mutate(
    space: SearchSpace, parents: Sequence[Architecture], probability: float, rng: np.random.Generator
) -> Architecture:
    """A parent, each op drawn again (possibly the same) with `probability` from those that its block can be."""
    ops = np.array(parents[int(rng.integers(len(parents)))].ops)
    again = rng.random(len(ops)) < probability
    return space.architecture(np.where(again, space.draw(rng).ops, ops).tolist())


def crossover(space: SearchSpace, parents: Sequence[Architecture], rng: np.random.Generator) -> Architecture:
    """Each op from either of two parents, which may be the same."""
    first, second = (parents[place].ops for place in rng.integers(len(parents), size=2))
    return space.architecture(np.where(rng.random(len(first)) < 0.5, first, second).tolist())
