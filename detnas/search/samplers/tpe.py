"""Optuna's tree-structured Parzen estimator as a search."""

import numpy as np
import optuna
from optuna import Study
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState

from detnas.search.samplers.base import TRIES, Proposal, Sampler, SpaceExhausted
from detnas.search.study.trials import architecture_of, distributions, index_of
from detnas.utils.seeds import derive_seed


class TPESampler_(Sampler):
    """The first `population` architectures are random; then each is what TPE makes of all that is finished by then.

    What other processes are evaluating counts as bad meanwhile, and so does what TPE proposed and was refused, outside
    the budget or seen. With one process a search is a function of its seed; with several, of their timing too.
    """

    def propose(self, study: Study, slot: int) -> Proposal:
        space = self.sampler.space
        # An earlier attempt at this slot, whose process is gone, must not stand in the way of the next one.
        trials = [trial for trial in study.get_trials(deepcopy=False) if trial.params and index_of(trial) != slot]
        seen = {architecture_of(trial, space) for trial in trials}
        seed = derive_seed(self.seed, "search", slot)
        if slot >= self.settings.population:
            guide = optuna.create_study(sampler=TPESampler(multivariate=True, seed=seed % 2**32), direction="maximize")
            told = [_known(trial) for trial in sorted(trials, key=index_of) if trial.state != TrialState.FAIL]
            guide.add_trials(told)
            for _ in range(TRIES):
                child = architecture_of(guide.ask(distributions(space)), space)
                if child not in seen and self.sampler.allows(child):
                    return Proposal(child, "tpe")
        fresh = self.sampler.sample(np.random.default_rng(seed), seen)
        if fresh is None:
            raise SpaceExhausted
        return Proposal(fresh, "random")


def _known(trial: FrozenTrial) -> FrozenTrial:
    """What TPE may know of a trial: its value, or that it is being evaluated."""
    done = trial.state == TrialState.COMPLETE
    return optuna.create_trial(
        state=TrialState.COMPLETE if done else TrialState.RUNNING,
        values=trial.values if done else None,
        params=trial.params,
        distributions=trial.distributions,
    )
