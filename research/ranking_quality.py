"""How well supernets rank the benchmark's architectures.

A supernet of each kind of research/workspace.py is trained with two seeds and evaluates all architectures of
research/architectures.py: without recalibration (with the statistics that the supernet gathered in its training), and
recalibrated on 20 batches; that of uniform paths on 5 and on 80, too. The first seed of all kinds comes before the
second. Kendall's tau is that with the mean mAP of the networks trained standalone: the mean over the seeds' supernets,
with its interval over the networks. Beside it stand the rankings by MACs and by how many blocks of an op a network has.
A supernet with its architectures takes roughly eight minutes on one core.
"""

from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np

from benchmarks.command import machine
from benchmarks.supernets import Trained
from detnas.evaluation.metrics.correlation import Values, kendall_tau, with_interval
from detnas.models.supernet import Supernet, extract_subnet
from detnas.run.context import Run
from detnas.run.opening import open_run
from detnas.search.evaluators.detection import DetectionEvaluator
from detnas.spaces import Architecture, SearchSpace
from detnas.training.checkpoints import load_weights
from detnas.utils.files import read_json, try_lock_file, write_json
from detnas.utils.progress import Progress
from research import architectures
from research.statistics import mean_tau, tau_beyond, tau_gained
from research.workspace import (
    CHANGES,
    SEEDS,
    SUPERNET,
    SUPERNETS,
    TRAININGS,
    Row,
    Summary,
    Tiny,
    Workspace,
    hyphenated,
    recorded,
    seconds_of,
    supernet_changes,
)

NAME = "ranking_quality"
CLAIM = "uniform"
"""The kind of supernet about which a claim is made: the paper's, chosen on the benchmark that was tried before."""
UNITS = tuple((kind, seed) for seed in SEEDS for kind in SUPERNETS)
MEASURED: Row = {
    "recipe": "shapes-quick",
    "changes": [*CHANGES, *SUPERNET],
    "supernets": {kind: list(changes) for kind, changes in SUPERNETS.items()},
}
"""How all supernets are measured."""


def claimed_batches(workspace: Workspace) -> int:
    """The recalibration batches of the claim."""
    return 2 if workspace.tiny else 20


def recalibrations(workspace: Workspace, kind: str) -> tuple[int, ...]:
    """On how many batches candidates are recalibrated; 0: not at all."""
    claimed = claimed_batches(workspace)
    return (0, 5, claimed, 80) if kind == CLAIM and not workspace.tiny else (0, claimed)


def result_file(workspace: Workspace, kind: str, seed: int) -> Path:
    return workspace.runs / "ranking" / f"{hyphenated(kind)}-seed{seed}.json"


def evaluate(workspace: Workspace, kind: str, seed: int) -> Row:
    """The fitness of all architectures by a supernet, which is trained unless that is done."""
    folder = workspace.supernet(kind, "retinanet", seed)
    recipe = workspace.recipe("retinanet", seed, supernet_changes(kind))
    with open_run(recipe, folder, workspace.data(), Progress()) as run:
        by_batches = {}
        for batches in recalibrations(workspace, kind):
            evaluator, score = load_evaluator(run, max(batches, 1)), recalibrated_score if batches else trained_score
            found = {str(one): round(score(evaluator, one), 6) for one in workspace.architectures()}
            by_batches[str(batches)] = found
            run.progress.log(f"{batches} batches: {min(found.values()):.3f} to {max(found.values()):.3f}")
    seconds = {stage: seconds_of(folder / stage) for stage in TRAININGS}
    return {"supernet": kind, "seed": seed, "seconds": seconds, "fitness by recalibration batches": by_batches}


def known(workspace: Workspace) -> list[Row]:
    """The results of each supernet that is done, here or where the file was written."""
    earlier = recorded(workspace.results(NAME), **MEASURED).get("evaluated", [])
    units = {(row["supernet"], row["seed"]): row for row in earlier}
    return [
        read_json(file) if file.exists() else units[kind, seed]
        for kind, seed in UNITS
        if (file := result_file(workspace, kind, seed)).exists() or (kind, seed) in units
    ]


def load_evaluator(run: Run, batches: int) -> DetectionEvaluator:
    """The evaluator of a run's trained supernet, with so many recalibration batches."""
    detector = run.detector(lambda: Supernet(run.space), None)
    load_weights(detector, run.directory / run.trained_supernet)
    search = run.recipe.search.model_copy(update={"recalibration_batches": batches})
    recipe = run.recipe.model_copy(update={"search": search})
    return Trained(recipe, run.data, detector).evaluator(run.seed("search"))


def recalibrated_score(evaluator: DetectionEvaluator, architecture: Architecture) -> float:
    """The mAP of a candidate with statistics of its own."""
    return evaluator(architecture)["mAP"] or 0.0


def trained_score(evaluator: DetectionEvaluator, architecture: Architecture) -> float:
    """The mAP of a candidate with the statistics that the supernet gathered in its training."""
    candidate = extract_subnet(evaluator.detector, architecture).eval()
    return evaluator.evaluate_candidate(candidate).scores["mAP"] or 0.0


def scores(rows: list[Row], batches: int, networks: list[Row]) -> Values:
    """The fitness (networks, supernets) of networks by each of the supernets."""
    by_supernet = [of["fitness by recalibration batches"][str(batches)] for of in rows]
    return np.array([[by[one["architecture"]] for by in by_supernet] for one in networks])


def quality(each: Values, baselines: dict[str, Values], truth: Values) -> Row:
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


def ops_alone(space: SearchSpace, each: Values, networks: list[Row], truth: Values) -> Row:
    """How a network's number of blocks of each op ranks it, and how scores (networks, supernets) do beyond that."""
    ops = [Architecture.parse(one["architecture"]).ops for one in networks]
    counts = np.array([[of.count(op) for op in range(len(space.ops))] for of in ops], np.float64)
    beyond = with_interval(partial(tau_beyond, each.shape[1]), np.column_stack([each, counts]), truth)
    taus = {op: vars(with_interval(mean_tau, counts[:, [i]], truth)) for i, op in enumerate(space.ops)}
    return {"Kendall's tau": taus, "of the claim beyond them": vars(beyond)}


def summarize(workspace: Workspace, done: list[Row], networks: list[Row]) -> Row:
    """How all kinds of supernets rank the networks that are trained standalone."""
    claimed = claimed_batches(workspace)
    truth = np.array([fmean(one["mAP"]) for one in networks])
    macs = np.array([[one["macs"]] for one in networks], np.float64)
    # In the direction in which they rank these networks better.
    more = mean_tau(macs, truth) >= 0
    baselines = {"MACs": macs if more else -macs}
    by_kind = {kind: [of for of in done if of["supernet"] == kind] for kind in SUPERNETS}
    ops = None
    if by_kind[CLAIM]:
        baselines[CLAIM] = scores(by_kind[CLAIM], claimed, networks)
        ops = ops_alone(workspace.recipe().search_space(), baselines[CLAIM], networks, truth)

    def row(kind: str, batches: int, supernets: list[Row]) -> Row:
        found = quality(scores(supernets, batches, networks), baselines, truth)
        print(kind, batches, found["of each seed"])
        seeds = [of["seed"] for of in supernets]
        return {"supernet": kind, "seeds": seeds, "recalibration batches": batches, **found}

    tau = vars(with_interval(mean_tau, baselines["MACs"], truth))
    return {
        "networks": len(networks),
        "MACs alone": {"Kendall's tau": tau, "better": "more" if more else "fewer"},
        "ops alone": ops,
        "claim": {"supernet": CLAIM, "recalibration batches": claimed},
        "rows": [
            row(kind, batches, supernets)
            for kind, supernets in by_kind.items()
            if supernets
            for batches in recalibrations(workspace, kind)
        ],
    }


def main(summary: Summary = False, tiny: Tiny = False) -> None:
    """Rank the networks of `architectures`, which comes first. Writes research/results/ranking_quality.json."""
    workspace = Workspace(tiny)
    for kind, seed in () if summary else UNITS:
        with try_lock_file(workspace.runs / f".ranking-{hyphenated(kind)}-seed{seed}.lock") as mine:
            if mine and (kind, seed) not in {(row["supernet"], row["seed"]) for row in known(workspace)}:
                write_json(result_file(workspace, kind, seed), evaluate(workspace, kind, seed))
    done = known(workspace)
    print(f"{len(done)} of {len(UNITS)} supernets are done")
    benchmark = workspace.results(architectures.NAME)
    if done and benchmark.exists():
        summarized = summarize(workspace, done, read_json(benchmark)["networks"])
        write_json(workspace.results(NAME), {**MEASURED, "machine": machine(), **summarized, "evaluated": done})
