"""What searches find, judged without training it. Writes research/results/surrogate.json.

    python -m research surrogate [--summary] [--tiny]

The trainings of one network differ by more than what a search gains, so that the few winners that can be trained standalone
say little of it (research/comparison.py). Here a linear model of what each op adds at each block is fitted to all
RetinaNets that have been trained standalone, by research/architectures.py, comparison.py and wide_budget.py, as surrogate
benchmarks do (Zela et al., "Surrogate NAS benchmarks", 2022); by it any winner is judged against the mean network of
its budget. So more searches can be judged: those of these benches, and some with further seeds. A search takes two
minutes on one core, its supernet four.
"""

import sys
from collections.abc import Sequence
from math import sqrt
from statistics import fmean, stdev

import numpy as np

from benchmarks.machine import machine
from detnas.evaluation.metrics.correlation import Estimate, kendall_tau, with_interval
from detnas.rundir.layout import BEST, CANDIDATES
from detnas.search.samplers.linear_model import Floats, LinearModel, indicators
from detnas.spaces import Architecture, SearchSpace
from detnas.utils.files import read_json, try_lock_file, write_json
from research.architectures import FILE as ARCHITECTURES
from research.comparing import (
    CLASSIFICATION,
    DETNAS,
    LINEAR,
    RANDOM_SEARCH,
    SCRATCH,
    SEARCHES,
    STUDENT,
    Comparison,
    interval,
    searches,
)
from research.comparison import AT_EQUAL_MACS
from research.wide_budget import IN_THE_WIDE_BUDGET
from research.workspace import CHANGES, RESULTS, RUNS, SUPERNET, TINY, Row, hyphenated, recipe_of, recorded

DETECTOR = "retinanet"
COMPARISONS = (AT_EQUAL_MACS, IN_THE_WIDE_BUDGET)
COMPARED = AT_EQUAL_MACS.seeds[DETECTOR]
SEEDS = COMPARED if TINY else (9, 10, 11, 18, 19, 20)
SEARCHED: tuple[tuple[Comparison, str, tuple[int, ...]], ...] = (
    *((AT_EQUAL_MACS, way, tuple(dict.fromkeys((*COMPARED, *SEEDS)))) for way in (DETNAS, RANDOM_SEARCH)),
    (AT_EQUAL_MACS, LINEAR, SEEDS),
    *((AT_EQUAL_MACS, way, COMPARED) for way in (SCRATCH, CLASSIFICATION)),
    *((IN_THE_WIDE_BUDGET, way, SEEDS) for way in (DETNAS, LINEAR)),
)
"""Searches that are judged, with which seeds: a comparison's own, and more."""
POOL, DRAWS = 3000, 4000
"""Random networks whose mean is that of a budget; draws of the posterior."""
Trainings = dict[tuple[str, int], float]
"""mAP by architecture and seed."""
LESS = f"{DETNAS} less this"
FILE = RESULTS / "surrogate.json"
MEASURED: Row = {
    "changes": [*CHANGES, *SUPERNET],
    "within": {of.name: list(of.within) for of, _, _ in SEARCHED},
    "searches": searches([way for _, way, _ in SEARCHED]),
}
"""How."""


def winner(comparison: Comparison, way: str, seed: int) -> Row | None:
    """What a search has found, which is done unless it is, and how high it came; None if another process is at it."""
    earlier = recorded(FILE, **MEASURED).get("winners", {}).get(comparison.name, {}).get(way, {})
    if str(seed) in earlier:
        found: Row = earlier[str(seed)]
        return found
    known = comparison.known(DETECTOR, way, seed)
    if known and way != LINEAR:  # whose winner need not be the highest
        return {"architecture": known[0]["architecture"], "highest fitness": known[0]["fitness"]}
    with try_lock_file(RUNS / f".surrogate-{comparison.name}-{hyphenated(way)}-seed{seed}.lock") as mine:
        if not mine or "--summary" in sys.argv:
            return None
        folder = comparison.searched(way, DETECTOR, seed) / "search"
        highest = max(row.fitness for row in CANDIDATES.read(folder))
        architecture = BEST.read(folder).architecture
        return {"architecture": architecture, "highest fitness": round(highest, 5)}


def of_the_benchmark() -> Trainings:
    """The mAP of every training of research/architectures.py."""
    networks = read_json(ARCHITECTURES)["networks"]
    return {(row["architecture"], seed): score for row in networks for seed, score in enumerate(row["mAP"])}


def of_the_comparisons() -> Trainings:
    rows = [row for comparison in COMPARISONS for row in comparison.trainings(DETECTOR)]
    return {(row["architecture"], row["training seed"]): row["mAP"] for row in rows}


def left_out(space: SearchSpace, architectures: list[Architecture], truth: list[float]) -> Estimate:
    """Kendall's tau of what the model expects of each network, fitted to the others, with its mean mAP."""
    expected = []
    for place, one in enumerate(architectures):
        others = [(*of[:place], *of[place + 1 :]) for of in (architectures, truth)]
        expected.append(LinearModel(space, *others).predict([one])[0])
    return with_interval(kendall_tau, np.array(expected), np.array(truth))


def parsed(names: Sequence[str]) -> list[Architecture]:
    return [Architecture.parse(name) for name in names]


def by_students_t(values: Sequence[float], variance: float = 0.0) -> Row:
    """The mean of independent values, with its 95 % interval, given what else there is of its variance."""
    spread = sqrt(variance + stdev(values) ** 2 / len(values))
    return interval(fmean(values), STUDENT[len(values) - 2] * spread)


def estimate(draws: Floats, differences: Floats) -> Row:
    """The mean of what `differences` (searches, blocks, ops) in their ops add, by `draws` (draws, blocks, ops).

    Its 95 % interval holds how little the model knows, and how the searches differ.
    """
    gains = np.einsum("dbo,sbo->sd", draws, differences)
    each = gains.mean(1).tolist()
    mean = by_students_t(each, float(gains.mean(0).var()))
    return {"searches": len(each), "mAP": mean, "of each": [round(gain, 4) for gain in each]}


def mean_network(comparison: Comparison) -> Floats:
    """How often a random network of a budget has an op at a block, (blocks, ops)."""
    sampler, rng = comparison.sampler(), np.random.default_rng(0)
    return indicators(sampler.space, [one for _ in range(POOL) if (one := sampler.sample(rng)) is not None]).mean(0)


def above(draws: Floats, chance: Floats, winners: dict[str, dict[str, Row]]) -> Row:
    """What each way's winners (by way and seed) are above a network of `chance` (blocks, ops), and DetNAS's above
    those of the other ways with the same seeds."""
    space = recipe_of().search_space()
    ways = {way: of for way, of in winners.items() if len(of) > 1}
    ops = {way: indicators(space, parsed([one["architecture"] for one in of.values()])) for way, of in ways.items()}
    told = {way: estimate(draws, of - chance) for way, of in ops.items()}
    for way, of in ways.items():
        common = [seed for seed in of if seed in ways.get(DETNAS, {})]
        if way == DETNAS or len(common) < 2:
            continue
        ours, theirs = (ops[one][[[*ways[one]].index(seed) for seed in common]] for one in (DETNAS, way))
        told[way][LESS] = estimate(draws, ours - theirs)
        if SEARCHES[way][0] == SEARCHES[DETNAS][0]:  # on the same supernets
            higher = [ways[DETNAS][seed]["highest fitness"] - of[seed]["highest fitness"] for seed in common]
            told[way][f"highest fitness of {LESS}"] = by_students_t(higher)
    return told


def fitted(trainings: Trainings, chance: dict[str, Floats], winners: dict[str, dict[str, dict[str, Row]]]) -> Row:
    """How the model of these networks ranks others, and what it tells of winners, by comparison, way and seed, given
    the mean network of each comparison."""
    space, rng = recipe_of().search_space(), np.random.default_rng(0)
    by_network: dict[str, list[float]] = {}
    for (name, _), score in trainings.items():
        by_network.setdefault(name, []).append(score)
    # Each counts once: how far it is from the sum of its ops is the same in all trainings of a network.
    architectures, truth = parsed([*by_network]), [fmean(scores) for scores in by_network.values()]
    model = LinearModel(space, architectures, truth)
    draws = np.array([model.effects(rng) for _ in range(DRAWS)])
    with_fpn = AT_EQUAL_MACS.trained("fpn")
    expected = model.predict(parsed([*with_fpn]))
    return {
        "networks": len(by_network),
        "trainings": len(trainings),
        "Kendall's tau of networks left out": vars(left_out(space, architectures, truth)),
        "networks with FPN": len(with_fpn),
        "Kendall's tau with FPN": vars(with_interval(kendall_tau, expected, np.array([*with_fpn.values()]))),
        "above the mean network": {name: above(draws, of, winners.get(name, {})) for name, of in chance.items()},
    }


def main() -> None:
    benchmark, others = of_the_benchmark(), of_the_comparisons()
    winners: dict[str, dict[str, dict[str, Row]]] = {}
    for comparison, way, seeds in SEARCHED:
        for seed in seeds:
            if (found := winner(comparison, way, seed)) is not None:
                winners.setdefault(comparison.name, {}).setdefault(way, {})[str(seed)] = found
    chance = {of.name: mean_network(of) for of in COMPARISONS}
    write_json(
        FILE,
        {
            **MEASURED,
            "machine": machine(),
            "fitted to all": fitted(benchmark | others, chance, winners),
            "fitted to the benchmark": fitted(benchmark, chance, winners),
            "winners": winners,
        },
    )


if __name__ == "__main__":
    main()
