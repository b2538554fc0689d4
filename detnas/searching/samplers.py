"""The samplers of the search by name."""

from detnas.searching.evolution import EvolutionSampler
from detnas.searching.linear import LinearSampler
from detnas.searching.nsga2 import NSGA2Sampler
from detnas.searching.slot_sampler import SlotSampler
from detnas.searching.tpe import ParzenSampler
from detnas.searching.uniform import UniformSampler

SAMPLERS: dict[str, type[SlotSampler]] = {
    "evolution": EvolutionSampler,
    "nsga2": NSGA2Sampler,
    "linear": LinearSampler,
    "tpe": ParzenSampler,
    "random": UniformSampler,
}
