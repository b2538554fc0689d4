"""How well a supernet ranks architectures: some are trained standalone and compared with their fitness."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from detnas.evaluation.metrics.correlation import kendall_tau, regret, spearman_rho, with_interval
from detnas.run.context import Run
from detnas.run.evaluator import build_evaluator
from detnas.run.networks import is_trained_standalone, train_standalone
from detnas.run.opening import load_run, open_run
from detnas.run.page import write_page
from detnas.rundir import layout
from detnas.rundir.layout import RankedNetwork, Ranking, RankingQuality, network_lock
from detnas.spaces import Architecture, BudgetSampler
from detnas.utils.errors import UserError
from detnas.utils.files import try_lock_file
from detnas.utils.progress import Progress

LEAST = 3
"""With fewer networks a correlation means nothing."""
POOL = 2000
"""How many architectures are drawn within the budget, from which those to train are taken, evenly in their MACs."""


def rank(directory: Path, count: int, progress: Progress, data: Path | None = None) -> list[str]:
    """Train `count` architectures by the schedule of the winner, and compare them with the supernet's ranking.

    The architectures are spread evenly over the MACs within the budget; those of a smaller count are among those of a
    larger one. Continues where it stopped; several processes on one run share the work. Once all architectures are
    trained it writes rank/ranking.json. `data` is where the run's data set is now, if that was moved. Returns lines for
    users.

    Raises `UserError` if `directory` holds no run, or its supernet is not trained.
    """
    recipe = load_run(directory)
    if count < LEAST:
        raise UserError(f"--n {count}: a ranking of fewer than {LEAST} networks says nothing; give more")
    with open_run(recipe, directory, data, progress, hold="shared") as run:
        chosen = spread(run.sampler, count, run.seed("rank"))
        evaluator = build_evaluator(run)
        # The same stages as the run's, in a folder of their own.
        rank_run = replace(run, directory=directory / layout.RANK, origin=directory)
        for number, architecture in enumerate(chosen, start=1):
            with try_lock_file(network_lock(rank_run.directory, architecture.hyphenated)) as is_mine:
                if is_mine and _find_network(rank_run, architecture) is None:
                    progress.log(f"[{number}/{count}] {architecture}")
                    train_standalone(rank_run, architecture)
                    fitness = evaluator(architecture)[recipe.search.score_name]
                    assert fitness is not None  # the search split has objects to find
                    # Last: a network whose fitness.json exists is done.
                    layout.FITNESS.write(_folder(rank_run, architecture), fitness)
    networks = [network for one in chosen if (network := _find_network(rank_run, one)) is not None]
    if len(networks) < count:
        return [f"{len(networks)} of {count} are done; other processes are at work on the rest"]
    metric, fitness_name = _metric(rank_run), recipe.search.score_name
    ranking = Ranking(metric=metric, fitness=fitness_name, quality=measure_quality(networks), networks=networks)
    layout.RANKING.write(rank_run.directory, ranking)
    return [*describe(ranking), f"Report: {write_page(directory, progress.log, run.data)}"]


def spread(sampler: BudgetSampler, count: int, seed: int) -> list[Architecture]:
    """`count` of `POOL` architectures drawn uniformly within the budget, spread evenly over the range of their MACs.

    Raises `UserError` if the budget holds fewer.
    """
    rng = np.random.default_rng(seed)
    pool: dict[Architecture, int] = {}
    while len(pool) < POOL and (architecture := sampler.sample(rng, pool.keys())) is not None:
        pool[architecture] = sampler.cost(architecture).macs
    if count > len(pool):
        raise UserError(f"--n {count}: only {len(pool)} architectures within the budget are available; give fewer")
    return evenly(pool, count)


def evenly(pool: dict[Architecture, int], count: int) -> list[Architecture]:
    """`count` architectures of `pool`, which holds the MACs of each, spread evenly over the range of MACs.

    Each is the nearest to the next number of a van der Corput sequence, so that any first few are spread evenly, too.
    """
    left = dict(pool)
    low, high = min(pool.values()), max(pool.values())
    chosen = []
    for number in range(1, count + 1):
        wanted = low + (high - low) * _van_der_corput(number)
        chosen.append(min(left, key=lambda architecture: abs(left[architecture] - wanted)))
        del left[chosen[-1]]
    return chosen


def measure_quality(networks: Sequence[RankedNetwork]) -> dict[str, RankingQuality]:
    """How well the supernet's fitness ranks the networks, and how well their MACs alone do."""
    truth = np.array([network.score for network in networks])
    rankings = {
        "supernet": np.array([network.fitness for network in networks]),
        "MACs alone": np.array([network.macs for network in networks], np.float64),
    }
    return {
        name: RankingQuality(
            kendall_tau=with_interval(kendall_tau, scores, truth),
            spearman_rho=with_interval(spearman_rho, scores, truth),
            regret=regret(scores, truth),
            regret_top_5=regret(scores, truth, top=5),
        )
        for name, scores in rankings.items()
    }


def describe(ranking: Ranking) -> list[str]:
    """Lines for users on what ranking.json holds."""
    metric = ranking.metric
    lines = [f"{len(ranking.networks)} networks trained standalone; their {metric} on the validation set, ranked by:"]
    for name, quality in ranking.quality.items():
        lines.append(f"  {name}: Kendall's tau {quality.kendall_tau}, Spearman's rho {quality.spearman_rho}")
        lines.append(
            f"    its best network is {quality.regret:.3f} {metric} below the best of all, the best of its top 5 "
            f"{quality.regret_top_5:.3f}"
        )
    lines.append("In brackets: 95 % intervals by bootstrap over the networks.")
    return lines


def _find_network(run: Run, architecture: Architecture) -> RankedNetwork | None:
    """What is known of an architecture, or None if it is not trained and scored yet, or the result is damaged."""
    folder = _folder(run, architecture)
    fitness, evaluation = layout.FITNESS.find_intact(folder), layout.EVALUATION.find_intact(folder)
    score = evaluation.scores.get(_metric(run)) if evaluation else None
    is_whole = is_trained_standalone(run, architecture)
    if fitness is None or evaluation is None or score is None or not is_whole:
        return None
    macs, params = evaluation.macs, evaluation.params
    return RankedNetwork(architecture=str(architecture), macs=macs, params=params, fitness=fitness, score=score)


def _metric(run: Run) -> str:
    """The detection score, after standalone training, that the supernet's fitness is compared with."""
    settings = run.recipe.search
    return "mAP" if settings.is_classification else settings.metric


def _folder(run: Run, architecture: Architecture) -> Path:
    return run.directory / layout.FINETUNE / architecture.hyphenated


def _van_der_corput(number: int) -> float:
    """The binary digits of `number`, mirrored at the binary point: 1/2, 1/4, 3/4, 1/8, 5/8, …"""
    digits = f"{number:b}"
    return int(digits[::-1], 2) / 2.0 ** len(digits)
