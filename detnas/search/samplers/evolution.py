"""The paper's evolutionary search."""

from detnas.search.samplers.base import History
from detnas.search.samplers.genetic import GeneticSampler


class EvolutionSampler(GeneticSampler):
    """Parents are the best of all earlier generations; of equals, the earlier."""

    def select_parents(self, earlier: History, generation: int) -> History:
        finished = [record for record in earlier if record.state == "finished"]
        return sorted(finished, key=lambda record: (-record.fitness, record.index))[: self.settings.num_parents]
