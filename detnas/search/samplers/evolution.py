"""The paper's evolutionary search."""

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from detnas.search.samplers.genetic import GeneticSampler
from detnas.search.study.trials import fitness_of, index_of


class EvolutionSampler(GeneticSampler):
    """Parents are the best of all history before the generation."""

    def select_parent(self, study: Study, generation: int) -> list[FrozenTrial]:
        """The best of all earlier generations; of equals, the earlier."""
        finished = [trial for trial in self.before(study, generation) if trial.state == TrialState.COMPLETE]
        return sorted(finished, key=lambda trial: (-fitness_of(trial), index_of(trial)))[: self.settings.num_parents]
