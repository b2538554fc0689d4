"""NSGA-II: a search for the Pareto front of fitness and cost."""

from optuna.samplers import NSGAIISampler

from detnas.config import SearchSettings
from detnas.search.samplers.genetic import GeneticSampler
from detnas.spaces import BudgetSampler


class NSGA2Sampler(GeneticSampler, NSGAIISampler):
    """Parents are chosen by Optuna's NSGA-II from the parents before and their generation: front after front, and of
    the front that finds no room as a whole the members with the most room around them."""

    def __init__(self, sampler: BudgetSampler, settings: SearchSettings, seed: int) -> None:
        NSGAIISampler.__init__(self, population_size=settings.num_parents)
        GeneticSampler.__init__(self, sampler, settings, seed)
