"""How well do supernets rank the benchmark's architectures? Writes research/results/ranking_quality.json.

    python -m research ranking-quality [--summary] [--tiny]

Trains a supernet in each of the ways of research/workspace.py, with two seeds, and judges all architectures of
research/architectures.py by it: without recalibration (by the statistics that the supernet gathered in its training), and
recalibrated on 20 batches; by that of uniform paths on 5 and on 80, too. The first seed of all ways comes before the
second. Kendall's tau is that with the mean mAP of the networks trained standalone, as far as there are results of
research/architectures.py; the mean of the seeds' supernets, with its interval over the networks. Beside it stand the
rankings by MACs and by how many blocks of an op a network has. A supernet with its architectures takes roughly
eight minutes on one core.
"""

import statistics
import sys
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.machine import machine
from benchmarks.supernets import TINY, Trained
from detnas.evaluation.metrics.correlation import Scores, kendall_tau, with_interval
from detnas.models.supernet import Supernet
from detnas.run.context import Run, open_run
from detnas.search.evaluators.detection import DetectionEvaluator
from detnas.spaces import Architecture
from detnas.training.checkpoints import load_weights
from detnas.utils.files import read_json, try_lock_file, write_json
from detnas.utils.progress import Progress
from research.architectures import FILE as ARCHITECTURES
from research.workspace import (
    CHANGES,
    RESULTS,
    RUNS,
    SEEDS,
    SUPERNET,
    SUPERNETS,
    TRAININGS,
    Row,
    architectures,
    data_folder,
    hyphenated,
    recipe_of,
    recorded,
    seconds_of,
    supernet,
    supernet_changes,
)

CLAIM = ("uniform", 2 if TINY else 20)
"""The row by which the supernet is judged: the paper's way, chosen on the benchmark that was tried before."""
UNITS = tuple((kind, seed) for seed in SEEDS for kind in SUPERNETS)
FILE = RESULTS / "ranking_quality.json"
MEASURED: Row = {
    "recipe": "shapes-quick",
    "changes": [*CHANGES, *SUPERNET],
    "supernets": {kind: list(changes) for kind, changes in SUPERNETS.items()},
}
"""How."""


def recalibrations(kind: str) -> tuple[int, ...]:
    """On how many batches candidates are recalibrated; 0: not at all."""
    return (0, 5, CLAIM[1], 80) if kind == CLAIM[0] and not TINY else (0, CLAIM[1])


def result_file(kind: str, seed: int) -> Path:
    return RUNS / "ranking" / f"{hyphenated(kind)}-seed{seed}.json"


def judge(kind: str, seed: int) -> Row:
    """The fitness of all architectures by a supernet, which is trained unless it is, and what its training took."""
    folder = supernet(kind, "retinanet", seed)
    with open_run(recipe_of("retinanet", seed, supernet_changes(kind)), folder, data_folder(), Progress()) as run:
        judged = {}
        for batches in recalibrations(kind):
            way, judging = by_own_statistics if batches else as_trained, fitness(run, max(batches, 1))
            found = {str(one): round(way(judging, one), 6) for one in architectures()}
            judged[str(batches)] = found
            run.progress.log(f"{batches} batches: {min(found.values()):.3f} to {max(found.values()):.3f}")
    seconds = {stage: seconds_of(folder / stage) for stage in TRAININGS}
    return {"supernet": kind, "seed": seed, "seconds": seconds, "fitness by recalibration batches": judged}


def known() -> list[Row]:
    """What is known of each supernet that is done, here or where the file was written."""
    earlier = recorded(FILE, **MEASURED).get("judged", [])
    units = {(row["supernet"], row["seed"]): row for row in earlier}
    return [
        read_json(file) if file.exists() else units[kind, seed]
        for kind, seed in UNITS
        if (file := result_file(kind, seed)).exists() or (kind, seed) in units
    ]


def fitness(run: Run, batches: int) -> DetectionEvaluator:
    detector = run.detector(lambda: Supernet(run.space), None)
    load_weights(detector, run.directory / run.trained_supernet)
    search = run.recipe.search.model_copy(update={"recalibration_batches": batches})
    recipe = run.recipe.model_copy(update={"search": search})
    return Trained(recipe, run.data, detector).fitness(run.seed("search"))


def by_own_statistics(fitness: DetectionEvaluator, architecture: Architecture) -> float:
    evaluation = fitness(architecture)
    assert evaluation is not None
    return evaluation.scores["mAP"] or 0.0


def as_trained(fitness: DetectionEvaluator, architecture: Architecture) -> float:
    """The mAP of a candidate with the statistics that the supernet gathered."""
    return fitness.with_statistics_of(architecture, None).scores["mAP"] or 0.0


def scores(judged: list[Row], batches: int, networks: list[Row]) -> Scores:
    """The fitness (networks, supernets) of networks by each of the supernets."""
    by_supernet = [of["fitness by recalibration batches"][str(batches)] for of in judged]
    return np.array([[by[one["architecture"]] for by in by_supernet] for one in networks])


def quality(each: Scores, baselines: dict[str, Scores], truth: Scores) -> Row:
    """How the scores (networks, supernets) rank the networks, and how much better than the baselines do."""
    gained = partial(tau_gained, each.shape[1])
    return {
        "Kendall's tau": vars(with_interval(mean_tau, each, truth)),
        "of each seed": [round(kendall_tau(column, truth), 4) for column in each.T],
        **{
            f"tau less that of {name}": vars(with_interval(gained, np.column_stack([each, baseline]), truth))
            for name, baseline in baselines.items()
        },
    }


def mean_tau(each: Scores, truth: Scores) -> float:
    """The mean of the taus of scores (networks, supernets)."""
    return statistics.fmean(kendall_tau(column, truth) for column in each.T)


def tau_gained(count: int, both: Scores, truth: Scores) -> float:
    """By how much the mean tau of the first `count` columns is above that of the others."""
    return mean_tau(both[:, :count], truth) - mean_tau(both[:, count:], truth)


def tau_beyond(count: int, both: Scores, truth: Scores) -> float:
    """The mean tau of the first `count` columns, of what a linear fit to the others leaves of them and of the truth."""
    known = np.column_stack([np.ones(len(truth)), both[:, count:]])
    left, truth_left = (of - known @ np.linalg.lstsq(known, of)[0] for of in (both[:, :count], truth))
    return mean_tau(left, truth_left)


def ops_alone(each: Scores, networks: list[Row], truth: Scores) -> Row:
    """How a network's number of blocks of each op ranks it, and how scores (networks, supernets) do beyond that."""
    space = recipe_of().search_space()
    ops = [Architecture.parse(one["architecture"]).ops for one in networks]
    counts = np.array([[of.count(op) for op in range(len(space.ops))] for of in ops], np.float64)
    beyond = with_interval(partial(tau_beyond, each.shape[1]), np.column_stack([each, counts]), truth)
    taus = {op: vars(with_interval(mean_tau, counts[:, [i]], truth)) for i, op in enumerate(space.ops)}
    return {"Kendall's tau": taus, "of the claim beyond them": vars(beyond)}


def summary(done: list[Row]) -> Row:
    """How all kinds rank the networks that are trained standalone."""
    networks = read_json(ARCHITECTURES)["networks"]
    truth = np.array([statistics.mean(one["mAP"]) for one in networks])
    macs = np.array([[one["macs"]] for one in networks], np.float64)
    # In the direction in which they rank these networks better.
    more = mean_tau(macs, truth) >= 0
    baselines = {"MACs": macs if more else -macs}
    by_kind = {kind: [of for of in done if of["supernet"] == kind] for kind in SUPERNETS}
    if by_kind[CLAIM[0]]:
        baselines[CLAIM[0]] = scores(by_kind[CLAIM[0]], CLAIM[1], networks)

    def row(kind: str, batches: int, judged: list[Row]) -> Row:
        found = quality(scores(judged, batches, networks), baselines, truth)
        print(kind, batches, found["of each seed"])
        seeds = [of["seed"] for of in judged]
        return {"supernet": kind, "seeds": seeds, "recalibration batches": batches, **found}

    return {
        "networks": len(networks),
        "MACs alone": {
            "Kendall's tau": vars(with_interval(mean_tau, baselines["MACs"], truth)),
            "better": "more" if more else "fewer",
        },
        "ops alone": ops_alone(baselines[CLAIM[0]], networks, truth) if CLAIM[0] in baselines else None,
        "claim": {"supernet": CLAIM[0], "recalibration batches": CLAIM[1]},
        "rows": [
            row(kind, batches, judged) for kind, judged in by_kind.items() if judged for batches in recalibrations(kind)
        ],
    }


def main() -> None:
    for kind, seed in () if "--summary" in sys.argv else UNITS:
        with try_lock_file(RUNS / f".ranking-{hyphenated(kind)}-seed{seed}.lock") as mine:
            if mine and (kind, seed) not in {(row["supernet"], row["seed"]) for row in known()}:
                write_json(result_file(kind, seed), judge(kind, seed))
    done = known()
    print(f"{len(done)} of {len(UNITS)} supernets are done")
    if done and ARCHITECTURES.exists():
        write_json(FILE, {**MEASURED, "machine": machine(), **summary(done), "judged": done})


if __name__ == "__main__":
    main()
