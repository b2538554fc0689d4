"""How well a supernet ranks architectures: some are trained standalone and compared with what it says."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from detnas.evaluation.metrics.correlation import Estimate, kendall_tau, regret, spearman_rho, with_interval
from detnas.models.backbone import Subnet
from detnas.run.context import Run, load_run, open_run
from detnas.run.evaluator import build_evaluator
from detnas.run.pipeline import EVALUATION, finetune_networks, pretrain_networks, write_page
from detnas.spaces import Architecture, BudgetSampler
from detnas.utils.errors import UserError
from detnas.utils.files import read_json, try_lock_file, write_json
from detnas.utils.progress import Progress

FOLDER = "rank"
RANKING = "ranking.json"
FITNESS = "fitness.json"
LEAST = 3
"""Networks below which a correlation means nothing."""
POOL = 2000
"""Draws within the budget of which some are taken, evenly in their cost."""


def rank(directory: Path, count: int, progress: Progress) -> list[str]:
    """Train `count` architectures alone by the retraining schedule, and say how well the supernet ranked them.

    They lie evenly over the costs within the budget, and those of a smaller count are among those of a larger one.
    Continues where it stopped; several processes on one run share the work. Leaves the figures in rank/ranking.json
    once all are trained.

    Raises `UserError` if `directory` holds no run, or its supernet is not trained.
    """
    recipe, data = load_run(directory)
    if count < LEAST:
        raise UserError(f"--n {count}: a ranking of fewer than {LEAST} networks says nothing; give more")
    with open_run(recipe, directory, data, progress, hold="shared") as run:
        chosen = spread(run.sampler, count, run.seed(FOLDER))
        evaluator = build_evaluator(run)
        # The same stages in a folder of their own.
        apart = replace(run, directory=directory / FOLDER)
        for place, architecture in enumerate(chosen, start=1):
            with try_lock_file(lock_file(apart, architecture)) as mine:
                if mine and _row(apart, architecture) is None:
                    progress.log(f"[{place}/{count}] {architecture}")
                    train_standalone(apart, architecture)
                    # Last: what stands there says that all is done.
                    fitness = evaluator(architecture)[recipe.search.score_name]
                    write_json(_folder(apart, architecture) / FITNESS, fitness)
    rows = [row for architecture in chosen if (row := _row(apart, architecture)) is not None]
    if len(rows) < count:
        return [f"{len(rows)} of {count} are done; other processes are at work on the rest"]
    found = {"metric": _metric(apart), "fitness": recipe.search.score_name, "figures": figures(rows), "networks": rows}
    write_json(apart.directory / RANKING, found)
    return [*describe(found), f"Report: {write_page(directory)}"]


def spread(sampler: BudgetSampler, count: int, seed: int) -> list[Architecture]:
    """`count` of `POOL` architectures drawn uniformly within the budget, evenly over the range of their MACs.

    Raises `UserError` if the budget holds fewer.
    """
    rng = np.random.default_rng(seed)
    pool: dict[Architecture, int] = {}
    while len(pool) < POOL and (architecture := sampler.sample(rng, pool.keys())) is not None:
        pool[architecture] = sampler.table.cost(architecture.ops).macs
    if count > len(pool):
        raise UserError(f"--n {count}: only {len(pool)} architectures within the budget are at hand; give fewer")
    return evenly(pool, count)


def evenly(pool: dict[Architecture, int], count: int) -> list[Architecture]:
    """`count` of at least as many architectures, evenly over the range of their MACs, which `pool` holds.

    Each is the nearest to the next number of a van der Corput sequence, so that the first of them are spread evenly,
    too.
    """
    left = dict(pool)
    low, high = min(pool.values()), max(pool.values())
    chosen = []
    for number in range(1, count + 1):
        wanted = low + (high - low) * _van_der_corput(number)
        chosen.append(min(left, key=lambda architecture: abs(left[architecture] - wanted)))
        del left[chosen[-1]]
    return chosen


def figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """How the supernet's fitness ranks the networks, and how their MACs alone do."""
    truth = np.array([row["score"] for row in rows])
    scores = {"supernet": [row["fitness"] for row in rows], "MACs alone": [row["macs"] for row in rows]}
    return {
        name: {
            "Kendall's tau": vars(with_interval(kendall_tau, np.array(values, np.float64), truth)),
            "Spearman's rho": vars(with_interval(spearman_rho, np.array(values, np.float64), truth)),
            "regret": regret(np.array(values, np.float64), truth),
            "regret of the top 5": regret(np.array(values, np.float64), truth, top=5),
        }
        for name, values in scores.items()
    }


def describe(found: Mapping[str, Any]) -> list[str]:
    """Lines for people on what ranking.json holds."""
    metric = found["metric"]
    lines = [
        f"{len(found['networks'])} networks trained standalone; {metric} on the validation set beside what ranks them"
    ]
    for name, of in found["figures"].items():
        correlations = ", ".join(f"{figure} {Estimate(**of[figure])}" for figure in ("Kendall's tau", "Spearman's rho"))
        lines.append(f"  {name}: {correlations}")
        lines.append(
            f"    its best is {of['regret']:.3f} {metric} below the best of all, the best of its top 5 "
            f"{of['regret of the top 5']:.3f}"
        )
    lines.append("In brackets: 95 % intervals by bootstrap over the networks.")
    return lines


def train_standalone(run: Run, architecture: Architecture) -> None:
    """Train one architecture by the schedule of the final networks, and judge it on the validation set."""
    networks = {architecture.hyphenated: partial(Subnet, run.space, architecture)}
    pretrain_networks(run, networks)
    finetune_networks(run, networks)


def _row(run: Run, architecture: Architecture) -> dict[str, Any] | None:
    """What is known of an architecture, if it is trained and judged."""
    folder = _folder(run, architecture)
    if not (folder / FITNESS).exists():
        return None
    evaluation = read_json(folder / EVALUATION)
    return {
        "architecture": str(architecture),
        "macs": evaluation["macs"],
        "params": evaluation["params"],
        "fitness": read_json(folder / FITNESS),
        "score": evaluation["scores"][_metric(run)],
    }


def _metric(run: Run) -> str:
    """The score of detection that the ranking is measured against."""
    settings = run.recipe.search
    return "mAP" if settings.by_classification else settings.metric


def _folder(run: Run, architecture: Architecture) -> Path:
    return run.directory / "finetune" / architecture.hyphenated


def lock_file(run: Run, architecture: Architecture) -> Path:
    """Who holds it works on this architecture."""
    return run.directory / f".{architecture.hyphenated}.lock"


def _van_der_corput(number: int) -> float:
    """The binary digits of `number`, mirrored at the point: 1/2, 1/4, 3/4, 1/8, 5/8, …"""
    value, digit = 0.0, 0.5
    while number:
        value += digit * (number & 1)
        number >>= 1
        digit /= 2
    return value
