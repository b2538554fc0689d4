"""NSGA-II: a search for the Pareto front of fitness and cost."""

from detnas.config import SearchSettings
from detnas.search.samplers.base import EvaluationRecord, History
from detnas.search.samplers.evolution import EvolutionSampler


class NSGA2Sampler(EvolutionSampler):
    """Parents are selected by Optuna's NSGA-II from the last generation and its parents: front after front, and of the
    front that does not fit as a whole the members with the largest crowding distance."""

    takes_second_objective = True

    @classmethod
    def check(cls, settings: SearchSettings) -> None:
        super().check(settings)
        if settings.num_parents == 1:
            raise ValueError(f"num_parents 1: sampler {settings.sampler} needs 2 or more, the ends of a front")

    def select_parents(self, earlier: History, generation: int) -> History:
        parents: list[EvaluationRecord] = []
        finished = [record for record in earlier if record.state == "finished"]
        for last in range(generation):
            population = [record for record in finished if record.index // self.settings.population == last]
            # The order decides which of equal members is selected.
            parents = sorted(_select([*population, *parents], self.settings.num_parents), key=lambda one: one.index)
        return parents


def _select(records: History, count: int) -> list[EvaluationRecord]:
    """The `count` records that NSGA-II prefers, or all if there are no more."""
    import optuna  # here: it takes time to import, and reading a recipe imports this module
    from optuna.trial import FrozenTrial

    class Selection(optuna.samplers.NSGAIISampler):
        """Selects from given trials, instead of those of a study."""

        def get_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
            return trials

        def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
            return []

    trials = [optuna.create_trial(values=record.values) for record in records]
    for number, trial in enumerate(trials):
        trial.number = number
    study = optuna.create_study(directions=["maximize", "minimize"])
    return [records[trial.number] for trial in Selection(population_size=count).select_parent(study, 1)]
