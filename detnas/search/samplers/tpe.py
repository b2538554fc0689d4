"""Optuna's tree-structured Parzen estimator (TPE) as a search."""

import numpy as np

from detnas.search.samplers.base import TRIES, History, Proposal, Sampler, SpaceExhausted
from detnas.utils.seeds import derive_seed


class TPESampler(Sampler):
    """The first `population` architectures are random; each later one is proposed by TPE from all that is finished.

    An architecture that is still running counts as bad, and so does one that TPE proposed and that was refused because
    it is outside the budget or known. With one process a search is a function of its seed; with several, also of the
    times at which evaluations end.
    """

    def propose_new(self, history: History, index: int) -> Proposal:
        # An earlier attempt at this evaluation, whose process is gone, must not prevent that it is proposed again.
        others = [record for record in history if record.index != index]
        seen = self.seen(others)
        seed = derive_seed(self.seed, "search", index)
        if index >= self.settings.population:
            import optuna  # here: it takes time to import, and reading a recipe imports this module

            from detnas.search.parameters import architecture_from, distributions, parameters_of

            choices = distributions(self.space)
            estimator = optuna.samplers.TPESampler(multivariate=True, seed=seed % 2**32)
            study = optuna.create_study(sampler=estimator, direction="maximize")
            study.add_trials(
                optuna.create_trial(
                    state=optuna.trial.TrialState.COMPLETE if record.values else optuna.trial.TrialState.RUNNING,
                    values=record.values or None,
                    params=parameters_of(record.architecture, self.space),
                    distributions=choices,
                )
                for record in others
                if record.state != "failed"
            )
            for _ in range(TRIES):
                child = architecture_from(study.ask(choices).params, self.space)
                if child not in seen and self.budget_sampler.allows(child):
                    return Proposal(child, "tpe")
        random = self.budget_sampler.sample(np.random.default_rng(seed), seen)
        if random is None:
            raise SpaceExhausted
        return Proposal(random, "random")
