"""The search: an Optuna study in the run directory, filled candidate by candidate."""

import time
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import Trial, TrialState

from detnas.config import SearchSettings
from detnas.files import write_json, write_json_lines
from detnas.progress import Progress
from detnas.searching.evolution import EvolutionSampler, SpaceExhausted
from detnas.searching.slots import enqueue, is_surplus, next_slot
from detnas.searching.together import Judge
from detnas.searching.trials import ORIGIN, architecture_of, slot_of
from detnas.spaces import Architecture, BudgetSampler

SCORES = "scores"
SECONDS = "seconds"
SHOWN_EVERY = 50
"""Candidates after which candidates.jsonl is written at the latest: a random search is one long generation."""


class Surplus(Exception):
    """Another trial holds the slot."""


def search(
    judge: Judge,
    sampler: BudgetSampler,
    settings: SearchSettings,
    directory: Path,
    *,
    seed: int,
    progress: Progress,
) -> Architecture:
    """Evaluate `settings.evaluations` candidates, or all there are, and return the best.

    `judge` gives a candidate's scores by name; that of `settings.score` is its fitness.

    Leaves `study.db`, `candidates.jsonl`, `best.json` and `done.json` in `directory`; continues a study that it
    finds there.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    directory.mkdir(parents=True, exist_ok=True)
    evolution = EvolutionSampler(sampler, settings, seed)
    study = optuna.create_study(
        study_name="search",
        storage=f"sqlite:///{directory / 'study.db'}",
        sampler=evolution,
        direction="maximize",
        load_if_exists=True,
    )
    _free_slots(study)

    def evaluate(trial: Trial) -> float:
        if is_surplus(trial, study.get_trials(deepcopy=False)):
            raise Surplus
        began = time.perf_counter()
        scores = judge(architecture_of(trial, sampler.space))
        trial.set_user_attr(SCORES, dict(scores))
        trial.set_user_attr(SECONDS, round(time.perf_counter() - began, 3))
        fitness = scores[settings.score]
        assert fitness is not None  # the search split holds boxes
        return fitness

    done = len(_finished(study))
    with progress.task("search", total=settings.evaluations, start=done) as bar:
        while True:
            slot = next_slot(study.get_trials(deepcopy=False), settings.evaluations, settings.population)
            if slot is None:
                break
            try:
                proposal = evolution.propose(study, slot)
            except SpaceExhausted:
                progress.say(f"  search: all {done} architectures within the budget have been evaluated")
                break
            enqueue(study, slot, proposal, sampler.space)
            study.optimize(evaluate, n_trials=1, catch=(Surplus,))
            done = len(_finished(study))
            bar.advance(f"best {study.best_value:.3f}")
            if done % min(settings.population, SHOWN_EVERY) == 0:
                write_json_lines(directory / "candidates.jsonl", candidates(study, sampler, settings))
    rows = candidates(study, sampler, settings)
    best = max(rows, key=lambda row: (row["fitness"], -row["flops"], -row["number"]))
    write_json_lines(directory / "candidates.jsonl", rows)
    write_json(directory / "best.json", best)
    write_json(directory / "done.json", {"seconds": sum(row["seconds"] for row in rows), "evaluations": len(rows)})
    return Architecture.parse(best["architecture"])


def candidates(study: optuna.Study, sampler: BudgetSampler, settings: SearchSettings) -> list[dict[str, Any]]:
    """The finished candidates in the order of their slots; a generation has as many slots as the population."""
    rows = []
    for trial in sorted(_finished(study), key=slot_of):
        facts = trial.user_attrs
        architecture = architecture_of(trial, sampler.space)
        rows.append(
            {
                "number": slot_of(trial),
                "generation": slot_of(trial) // settings.population,
                "origin": facts[ORIGIN],
                "architecture": str(architecture),
                **sampler.table.cost(architecture.ops).facts(),
                "fitness": trial.value,
                "metric": settings.score,
                "AP50": facts[SCORES].get("AP50"),
                "seconds": facts[SECONDS],
            }
        )
    return rows


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])


def _free_slots(study: optuna.Study) -> None:
    """Give up the trials that a process which is gone left running."""
    for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        study.tell(trial.number, state=TrialState.FAIL)
