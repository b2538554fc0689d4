"""The search by any function of an architecture, without a run."""

import json
from collections.abc import Callable
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from detnas.config import SearchSettings
from detnas.config.loading import explain
from detnas.config.renamed import explain_old_key
from detnas.rundir.directory import find_search_facts
from detnas.rundir.layout import FORMAT, SEARCH_FACTS, SearchFacts
from detnas.search.study import study
from detnas.spaces import COSTS, Architecture, Budget, BudgetSampler, SearchSpace, search_space
from detnas.utils.errors import UserError, suggestion
from detnas.utils.import_string import IMPORT_STRING
from detnas.utils.progress import Progress

FIELDS = (
    "sampler",
    "second_objective",
    "evaluations",
    "population",
    "num_parents",
    "num_mutations",
    "mutation_probability",
    "num_crossovers",
    "storage",
)
"""The fields of `SearchSettings` that say how candidates are chosen; the others say how detectors are evaluated."""


def search(
    fitness: Callable[[Architecture], float],
    space: SearchSpace | str,
    out: str | Path,
    *,
    budget: Budget | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    **settings: Any,
) -> Architecture:
    """Search `space` (or one of detnas's, by name) for the architecture of the highest `fitness` within `budget`.

    `fitness` is called once for each candidate and returns a finite number. `settings` are the fields of
    `detnas.config.SearchSettings` that say how candidates are chosen (`FIELDS`), by default the paper's evolution: 1000
    evaluations in generations of 50. With the sampler `nsga2` and a `second_objective`, the architecture returned is
    the one of the front with the highest fitness. With `linear` it is the one that its model expects most of.

    Leaves in the folder `out` what the search of a run leaves: study.db (Optuna's), candidates.jsonl with every
    candidate's fitness and costs, best.json, front.json if there are two objectives, done.json. The same call again
    continues where it was cut, evaluates nothing twice and ends in the same result, if `fitness` returns the same
    values; it may ask for more evaluations. Several processes that make the same call at once share the work.

    A candidate whose fitness raises or is not finite is tried three times and then given up (failed.jsonl).
    Raises `UserError` for invalid settings, an unknown space, a budget that nothing meets, an `out` that holds anything
    else or another search, and if all candidates of the first generation fail.
    """
    space = search_space(space) if isinstance(space, str) else space
    chosen = _settings(settings, _name(fitness))
    budget_sampler = BudgetSampler(space, budget or Budget())
    if chosen.second_objective == "latency" and not budget_sampler.budget.has_latencies:
        raise UserError("second_objective latency needs a table of latencies; give the budget one by latencies=")
    directory = Path(out)
    _claim(directory, _facts(budget_sampler, chosen, seed))

    def evaluate(architecture: Architecture) -> dict[str, float | None]:
        return {chosen.score_name: float(fitness(architecture))}

    return study.search(
        evaluate, budget_sampler, chosen, directory, seed=seed, progress=progress or Progress(quiet=True)
    )


def _settings(settings: dict[str, Any], name: str) -> SearchSettings:
    for field in settings:
        if field not in FIELDS:
            remedy = explain_old_key(SearchSettings, field) or suggestion(field, FIELDS)
            raise UserError(f"detnas.search: there is no setting {field}; {remedy}")
    try:
        return SearchSettings.model_validate(settings | {"fitness": name})
    except ValidationError as error:
        raise UserError(f"detnas.search: {explain(error, SearchSettings)}") from None


def _name(fitness: Callable[[Architecture], float]) -> str:
    """The name of the score in candidates.jsonl: `module:function` if the function has such a name."""
    name = f"{fitness.__module__}:{getattr(fitness, '__name__', type(fitness).__name__)}"
    return name if IMPORT_STRING.fullmatch(name) else "custom:fitness"


def _facts(budget_sampler: BudgetSampler, settings: SearchSettings, seed: int) -> SearchFacts:
    """What identifies a search, as it is read back from JSON."""
    budget = budget_sampler.budget
    bounds = {cost: [None if bound == inf else bound for bound in getattr(budget, cost)] for cost in COSTS}
    latencies = budget.latencies and asdict(budget.latencies)
    parts = {str(side): asdict(of_one) for side, of_one in (budget.detector or {}).items()}
    detector = {"detector": parts} if parts else {}
    facts = {
        "format": FORMAT,
        "seed": seed,
        "space": asdict(budget_sampler.space),
        "budget": bounds | {"size": budget.size, "latencies": latencies} | detector,
        "settings": settings.model_dump(include=set(FIELDS) - {"evaluations", "storage"}),
    }
    return SearchFacts.model_validate_json(json.dumps(facts))


def _claim(directory: Path, facts: SearchFacts) -> None:
    """Write what is searched into a new or empty folder. Raises `UserError` if the folder holds anything else."""
    stored = find_search_facts(directory)
    if stored is not None:
        for part, wanted in facts:
            if getattr(stored, part) != wanted:
                raise UserError(
                    f"{directory}: holds another search ({part}: {getattr(stored, part)} there, {wanted} here); choose "
                    "another folder"
                )
    elif directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise UserError(f"{directory}: exists and holds no search; choose a new or an empty folder")
    else:
        SEARCH_FACTS.write(directory, facts)
