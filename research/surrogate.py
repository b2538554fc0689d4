"""What searches find, evaluated by a surrogate instead of training it.

The trainings of one network differ by more than what a search gains, so that the few winners that can be trained
standalone say little of it (research/comparison.py). Here a linear model of what each op adds at each block is fitted
to all RetinaNets that have been trained standalone by research/architectures.py and research/comparison.py, as
surrogate benchmarks do (Zela et al., "Surrogate NAS benchmarks", 2022); it compares any winner with the mean network of
its budget. So more searches can be evaluated: those of the comparisons, and some with further seeds. A search takes two
minutes on one core, its supernet four.
"""

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from benchmarks.command import machine
from detnas.evaluation.metrics.correlation import kendall_tau, with_interval
from detnas.rundir.layout import BEST, CANDIDATES, SEARCH
from detnas.search.samplers.linear_model import LinearModel, indicators
from detnas.spaces import Architecture, SearchSpace
from detnas.utils.estimate import Estimate
from detnas.utils.files import read_json, try_lock_file, write_json
from research import architectures
from research.comparison import (
    CLASSIFICATION,
    DETNAS,
    LINEAR,
    RANDOM_SEARCH,
    SCRATCH,
    SEARCHES,
    Comparison,
    at_equal_macs,
    in_the_wide_budget,
    searches,
)
from research.statistics import Floats, mean_effect, mean_of, rounded
from research.workspace import CHANGES, SUPERNET, Row, Summary, Tiny, Workspace, hyphenated, recorded

NAME = "surrogate"
DETECTOR = "retinanet"
POOL, DRAWS = 3000, 4000
"""Random networks whose mean is that of a budget; draws of the posterior."""
Trainings = dict[tuple[str, int], float]
"""mAP by architecture and seed."""
Winners = dict[str, dict[str, dict[str, Row]]]
"""The winner of each search, by comparison, method and seed."""
LESS = f"{DETNAS} less this"
Searched = tuple[Comparison, str, tuple[int, ...]]
"""A comparison, a method and seeds."""


def planned(workspace: Workspace) -> list[Searched]:
    """The searches that are evaluated: the comparisons' own, and more."""
    narrow, wide = at_equal_macs(workspace), in_the_wide_budget(workspace)
    compared = narrow.seeds[DETECTOR]
    seeds = compared if workspace.tiny else (9, 10, 11, 18, 19, 20)
    return [
        *((narrow, method, tuple(dict.fromkeys((*compared, *seeds)))) for method in (DETNAS, RANDOM_SEARCH)),
        (narrow, LINEAR, seeds),
        *((narrow, method, compared) for method in (SCRATCH, CLASSIFICATION)),
        *((wide, method, seeds) for method in (DETNAS, LINEAR)),
    ]


def measured(planned: Sequence[Searched]) -> Row:
    """How all searches are run."""
    return {
        "changes": [*CHANGES, *SUPERNET],
        "within": {of.name: list(of.within) for of, _, _ in planned},
        "searches": searches([method for _, method, _ in planned]),
    }


def winner(comparison: Comparison, method: str, seed: int, earlier: Winners, summary: bool) -> Row | None:
    """The winner of a search, which is run unless that is done, and the highest fitness in it.

    None if another process works on it, or if it is not done and there is only a summary to write.
    """
    found = earlier.get(comparison.name, {}).get(method, {}).get(str(seed))
    if found is not None:
        return found
    known = comparison.known(DETECTOR, method, seed)
    if known and method != LINEAR:  # whose winner need not have the highest fitness
        return {"architecture": known[0]["architecture"], "highest fitness": known[0]["fitness"]}
    lock = f".surrogate-{comparison.name}-{hyphenated(method)}-seed{seed}.lock"
    with try_lock_file(comparison.workspace.runs / lock) as mine:
        if not mine or summary:
            return None
        folder = comparison.search(method, DETECTOR, seed) / SEARCH
        highest = max(row.fitness for row in CANDIDATES.read(folder))
        return {"architecture": BEST.read(folder).architecture, "highest fitness": round(highest, 5)}


def of_the_benchmark(workspace: Workspace) -> Trainings:
    """The mAP of every training of research/architectures.py."""
    networks = read_json(workspace.results(architectures.NAME))["networks"]
    return {(row["architecture"], seed): score for row in networks for seed, score in enumerate(row["mAP"])}


def of_the_comparisons(comparisons: Sequence[Comparison]) -> Trainings:
    rows = [row for comparison in comparisons for row in comparison.trainings(DETECTOR)]
    return {(row["architecture"], row["training seed"]): row["mAP"] for row in rows}


def tau_left_out(space: SearchSpace, architectures: list[Architecture], truth: list[float]) -> Estimate:
    """Kendall's tau of what the model predicts of each network, fitted to the others, with its mean mAP."""
    predicted = []
    for place, one in enumerate(architectures):
        others = [(*of[:place], *of[place + 1 :]) for of in (architectures, truth)]
        predicted.append(LinearModel(space, *others).predict([one])[0])
    return with_interval(kendall_tau, np.array(predicted), np.array(truth))


def parse(names: Sequence[str]) -> list[Architecture]:
    return [Architecture.parse(name) for name in names]


def estimate(draws: Floats, differences: Floats) -> Row:
    """What `differences` (searches, blocks, ops) in their ops add to mAP, by `draws` (draws, blocks, ops)."""
    mean, each = mean_effect(draws, differences)
    return {"searches": len(each), "mAP": rounded(mean), "of each": [round(gain, 4) for gain in each]}


def mean_network(comparison: Comparison) -> Floats:
    """How often a random network of a budget has an op at a block, (blocks, ops)."""
    sampler, rng = comparison.sampler(), np.random.default_rng(0)
    pool = [one for _ in range(POOL) if (one := sampler.sample(rng)) is not None]
    mean: Floats = indicators(sampler.space, pool).mean(0)
    return mean


def above(space: SearchSpace, draws: Floats, chance: Floats, winners: dict[str, dict[str, Row]]) -> Row:
    """By how much each method's winners (by method and seed) are above the mean network `chance` (blocks, ops), and
    DetNAS's above those of the other methods with the same seeds."""
    methods = {method: of for method, of in winners.items() if len(of) > 1}
    ops = {
        method: indicators(space, parse([one["architecture"] for one in of.values()])) for method, of in methods.items()
    }
    found = {method: estimate(draws, of - chance) for method, of in ops.items()}
    for method, of in methods.items():
        common = [seed for seed in of if seed in methods.get(DETNAS, {})]
        if method == DETNAS or len(common) < 2:
            continue
        ours, theirs = (ops[one][[[*methods[one]].index(seed) for seed in common]] for one in (DETNAS, method))
        found[method][LESS] = estimate(draws, ours - theirs)
        if SEARCHES[method][0] == SEARCHES[DETNAS][0]:  # on the same supernets
            higher = [methods[DETNAS][seed]["highest fitness"] - of[seed]["highest fitness"] for seed in common]
            found[method][f"highest fitness of {LESS}"] = rounded(mean_of(higher))
    return found


def fit(trainings: Trainings, fpn: dict[str, float], chance: dict[str, Floats], winners: Winners) -> Row:
    """How well a model of these trainings ranks networks, left out ones and those whose mean mAP with FPN is in `fpn`,
    and by how much it puts the winners above `chance`, the mean network of each comparison."""
    space = Workspace().recipe().search_space()
    by_network: dict[str, list[float]] = {}
    for (name, _), score in trainings.items():
        by_network.setdefault(name, []).append(score)
    # Each network counts once: how far it is from the sum of its ops is the same in all its trainings.
    networks, truth = parse([*by_network]), [fmean(scores) for scores in by_network.values()]
    model, rng = LinearModel(space, networks, truth), np.random.default_rng(0)
    draws = np.array([model.effects(rng) for _ in range(DRAWS)])
    predicted = model.predict(parse([*fpn]))
    return {
        "networks": len(by_network),
        "trainings": len(trainings),
        "Kendall's tau of networks left out": vars(tau_left_out(space, networks, truth)),
        "networks with FPN": len(fpn),
        "Kendall's tau with FPN": vars(with_interval(kendall_tau, predicted, np.array([*fpn.values()]))),
        "above the mean network": {name: above(space, draws, of, winners.get(name, {})) for name, of in chance.items()},
    }


def main(summary: Summary = False, tiny: Tiny = False) -> None:
    """Evaluate by a surrogate what the searches of both comparisons find. Writes research/results/surrogate.json."""
    workspace = Workspace(tiny)
    comparisons = (at_equal_macs(workspace), in_the_wide_budget(workspace))
    benchmark, others = of_the_benchmark(workspace), of_the_comparisons(comparisons)
    plan = planned(workspace)
    earlier = recorded(workspace.results(NAME), **measured(plan)).get("winners", {})
    winners: Winners = {}
    for comparison, method, seeds in plan:
        for seed in seeds:
            if (found := winner(comparison, method, seed, earlier, summary)) is not None:
                winners.setdefault(comparison.name, {}).setdefault(method, {})[str(seed)] = found
    chance = {of.name: mean_network(of) for of in comparisons}
    fpn = comparisons[0].mean_scores("fpn")
    results = {
        **measured(plan),
        "machine": machine(),
        "fitted to all": fit(benchmark | others, fpn, chance, winners),
        "fitted to the benchmark": fit(benchmark, fpn, chance, winners),
        "winners": winners,
    }
    write_json(workspace.results(NAME), results)
