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

CHOOSING = (
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
"""The fields of `SearchSettings` that say how candidates are chosen; the others say how detectors are judged."""


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

    `fitness` is called once for each candidate and gives a finite number. `settings` are the fields of
    `detnas.config.SearchSettings` that say how candidates are chosen (`CHOOSING`), by default the paper's evolution:
    1000 evaluations in generations of 50. With `second_objective` and the sampler `nsga2` there are two objectives, of which the
    one given back is the best in fitness. Of the sampler `linear` it is the best of those evaluated by its model.

    Leaves in the folder `out` what the search of a run leaves: study.db (Optuna's), candidates.jsonl with every
    candidate's fitness and costs, best.json, front.json where there are two objectives, done.json. The same call again
    goes on where it was cut, evaluates nothing twice and ends in the same result, if `fitness` gives the same again; it
    may ask for more evaluations. Several processes that make the same call at once share the work.

    A candidate whose fitness raises or is not finite is tried three times and then given up (failed.jsonl).
    Raises `UserError` for settings, a space or a budget that cannot be, if `out` holds anything else or another search,
    and if all candidates of the first generation fail.
    """
    space = search_space(space) if isinstance(space, str) else space
    chosen = _settings(settings, _name(fitness))
    sampler = BudgetSampler(space, budget or Budget())
    if chosen.second_objective == "latency" and sampler.budget.latencies is None:
        raise UserError("second_objective latency needs a table of latencies; give the budget one by latencies=")
    directory = Path(out)
    _claim(directory, _facts(sampler, chosen, seed))

    def evaluate(architecture: Architecture) -> dict[str, float | None]:
        return {chosen.score_name: float(fitness(architecture))}

    return study.search(evaluate, sampler, chosen, directory, seed=seed, progress=progress or Progress(quiet=True))


def _settings(settings: dict[str, Any], name: str) -> SearchSettings:
    for field in settings:
        if field not in CHOOSING:
            remedy = explain_old_key(SearchSettings, field) or suggestion(field, CHOOSING)
            raise UserError(f"detnas.search: there is no setting {field}; {remedy}")
    try:
        return SearchSettings.model_validate(settings | {"fitness": name})
    except ValidationError as error:
        raise UserError(f"detnas.search: {explain(error, SearchSettings)}") from None


def _name(fitness: Callable[[Architecture], float]) -> str:
    """What the score is called in candidates.jsonl: `module:function`, where the function has such a name."""
    name = str(getattr(fitness, "__name__", type(fitness).__name__))
    return f"{fitness.__module__}:{name}" if IMPORT_STRING.fullmatch(f"{fitness.__module__}:{name}") else "own:fitness"


def _facts(sampler: BudgetSampler, settings: SearchSettings, seed: int) -> SearchFacts:
    """What makes a search this one and no other, as JSON gives it back."""
    budget = sampler.budget
    bounds = {cost: [None if bound == inf else bound for bound in getattr(budget, cost)] for cost in COSTS}
    latencies = None if budget.latencies is None else asdict(budget.latencies)
    chosen = {field: getattr(settings, field) for field in CHOOSING if field not in ("evaluations", "storage")}
    facts = {
        "format": FORMAT,
        "seed": seed,
        "space": asdict(sampler.space),
        "budget": bounds | {"size": budget.size, "latencies": latencies},
        "settings": chosen,
    }
    return SearchFacts.model_validate_json(json.dumps(facts))


def _claim(directory: Path, facts: SearchFacts) -> None:
    """Write what is searched into a new or empty folder, or raise `UserError` unless it stands there."""
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
        try:
            SEARCH_FACTS.write(directory, facts)
        except OSError as error:
            raise UserError(f"{directory}: cannot be written ({error.strerror}); choose another folder") from None
