"""What to evaluate next: the samplers of the search. None of them imports torch, and none Optuna before it is used."""

from detnas.search.samplers.base import Sampler
from detnas.search.samplers.evolution import EvolutionSampler
from detnas.search.samplers.linear import LinearSampler
from detnas.search.samplers.nsga2 import NSGA2Sampler
from detnas.search.samplers.random import RandomSampler
from detnas.search.samplers.tpe import TPESampler

SAMPLERS: dict[str, type[Sampler]] = {
    "evolution": EvolutionSampler,
    "nsga2": NSGA2Sampler,
    "linear": LinearSampler,
    "tpe": TPESampler,
    "random": RandomSampler,
}
"""The choices of the recipe's `search.sampler`."""
