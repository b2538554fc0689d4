"""A Bayesian linear model of fitness: what each option of each choice adds, such as an op at a block."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detnas.spaces import Architecture, SearchSpace

Floats = NDArray[np.float64]

SHRINKAGES = np.logspace(-2, 4, 61)
"""Of the noise's variance to that of the effects, those that are weighed."""


class LinearModel:
    """The posterior of effects e, of independent normal priors, in fitness = constant + sum over choices
    e[choice, option] + noise, given the fitness of some architectures. The choices are those of `SearchSpace.choices`.

    How much smaller the effects are than the noise, and how large either is, is what the marginal likelihood of these
    prefers (MacKay, "Bayesian interpolation", 1992); the constant has a flat prior. The noise holds all that
    architectures have beyond the sum.
    """

    def __init__(self, space: SearchSpace, architectures: Sequence[Architecture], fitness: Sequence[float]) -> None:
        self.space = space
        encoded = self._encode(architectures)
        values = np.array(fitness, np.float64)
        self._middle, self._constant = encoded.mean(0), float(values.mean())
        left, scales, self._directions = np.linalg.svd(encoded - self._middle, full_matrices=False)
        along = left.T @ (values - self._constant)
        beside = max(float(((values - self._constant) ** 2).sum() - (along**2).sum()), 0.0)
        freedom = max(len(values) - 1, 1)
        variances = scales[:, None] ** 2 + SHRINKAGES
        sizes = ((along[:, None] ** 2 / variances).sum(0) + beside / SHRINKAGES) / freedom
        others = freedom - len(scales)
        with np.errstate(divide="ignore"):
            likelihoods = -(freedom * np.log(sizes) + np.log(variances).sum(0) + others * np.log(SHRINKAGES)) / 2
        best = int(np.argmax(likelihoods))
        shrinkage, self._deviation = float(SHRINKAGES[best]), float(np.sqrt(sizes[best]))
        self._mean = (scales * along / (scales**2 + shrinkage)) @ self._directions
        self._narrowed = np.sqrt(shrinkage / (scales**2 + shrinkage))

    def predict(self, architectures: Sequence[Architecture]) -> Floats:
        """The expected fitness of each, (architectures,)."""
        expected: Floats = self._constant + (self._encode(architectures) - self._middle) @ self._mean
        return expected

    def effects(self, rng: np.random.Generator) -> Floats:
        """A draw of the posterior, (choices, options)."""
        drawn = rng.normal(size=len(self._mean))
        narrowing = (self._directions @ drawn) * (self._narrowed - 1)
        effects: Floats = self._mean + self._deviation * (drawn + narrowing @ self._directions)
        return effects.reshape(len(self.space.choices), -1)

    def _encode(self, architectures: Sequence[Architecture]) -> Floats:
        return indicators(self.space, architectures).reshape(len(architectures), -1)


def indicators(space: SearchSpace, architectures: Sequence[Architecture]) -> Floats:
    """1 where an architecture has an option and 0 elsewhere, (architectures, choices, options)."""
    options = max(len(space.ops), *(1 + max(allowed) for allowed in space.choices))
    return np.eye(options)[[space.encode(one) for one in architectures]]
