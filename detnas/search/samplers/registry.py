"""The samplers of the search by name."""

from detnas.search.samplers.base import SlotSampler
from detnas.search.samplers.evolution import EvolutionSampler
from detnas.search.samplers.linear import LinearSampler
from detnas.search.samplers.nsga2 import NSGA2Sampler
from detnas.search.samplers.random import UniformSampler
from detnas.search.samplers.tpe import ParzenSampler

SAMPLERS: dict[str, type[SlotSampler]] = {
    "evolution": EvolutionSampler,
    "nsga2": NSGA2Sampler,
    "linear": LinearSampler,
    "tpe": ParzenSampler,
    "random": UniformSampler,
}
