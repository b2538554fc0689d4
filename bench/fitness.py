"""What a candidate costs, beside the official procedure: python bench/fitness.py writes bench/results/fitness.json.

The official procedure (`official.py`) is re-created on small trained supernets, one with each detector, then ours is
put in its place part by part: each row of a table has all that the rows above it have. Seconds are means over the
candidates of a row. The first rows judge the same few, the official procedure by two seeds of its recalibration, whose
spread is the noise; the last two the candidates of a search by the evolution.

With `--keep FOLDER` the supernets stay there for the next time; with `--tiny` it is a quick trial that prints only.
About fifteen minutes on two quiet cores, three of them for the supernets.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from machine import machine
from official import BATCHES, CPU, MOMENTUM, found_one_by_one, judge_in_processes, pycocotools_map, recalibrate
from supernets import CASES, TINY, Trained, load, supernets_folder, train

from detnas.config import SearchSettings
from detnas.data.detection import DetectionSet
from detnas.files import write_json
from detnas.models.backbone import extract_subnet
from detnas.models.inference import detect
from detnas.progress import Progress
from detnas.searching import recalibration
from detnas.searching.fitness import Fitness
from detnas.searching.inputs import Inputs
from detnas.searching.study import search
from detnas.spaces import Architecture, BudgetSampler

FEW, SEEDS, SEARCHED = (1, 2, 4) if TINY else (3, 2, 24)
"""Candidates of the first rows, recalibrations of each in the first one, and candidates of the last rows."""
PROPOSALS = "search.proposals=100"
Way = Callable[[Architecture], float]
"""Gives a candidate's mAP."""


class Row:
    """A way of judging, and what it has found so far."""

    def __init__(self, name: str, way: Way) -> None:
        self.name = name
        self.way = way
        self.seconds: list[float] = []
        self.scores: dict[Architecture, float] = {}

    def judge(self, architecture: Architecture) -> float:
        began = time.perf_counter()
        score = self.scores[architecture] = self.way(architecture)
        self.seconds.append(time.perf_counter() - began)
        return score


def official(kind: str, runs: Path, seed: int, batches: int, momentum: float | None) -> Way:
    return lambda architecture: judge_in_processes(kind, runs, architecture, seed, batches, momentum)


def in_this_process(trained: Trained) -> Way:
    def way(architecture: Architecture) -> float:
        recalibrate(trained, architecture, 0, trained.recipe.search.recalibration_batches, None)
        return pycocotools_map(trained, found_one_by_one(trained))

    return way


def without_losses(trained: Trained, calibration: Inputs, judged: Inputs) -> Way:
    """Recalibration as ours on `calibration`, judging on `judged`, both as they come; pycocotools."""

    def way(architecture: Architecture) -> float:
        candidate = extract_subnet(trained.supernet, architecture)
        recalibration.recalibrate(candidate, calibration)
        return pycocotools_map(trained, [one for pictures in judged for one in detect(candidate, pictures, CPU)])

    return way


def ours(fitness: Fitness, prefixes: bool) -> Way:
    def way(architecture: Architecture) -> float:
        found = fitness(architecture).scores["mAP"]
        assert found is not None
        return found

    if not prefixes:
        fitness.prefixes.room = 0
    return way


def decoded_each_time(data: DetectionSet, batch: int, trained: Trained) -> Inputs:
    return Inputs(data, batch, trained.recipe.detector, CPU, kept=False, cache_mb=0, disk=None)


def rows(kind: str, runs: Path) -> tuple[list[Row], list[Row]]:
    """The table of a detector; and the official procedure with each seed."""
    trained = load(kind, runs)
    settings, detector = trained.recipe.search, trained.recipe.detector
    count = settings.recalibration_batches
    fitness = trained.fitness()
    fresh = decoded_each_time(fitness.calibration.data, settings.recalibration_batch, trained)
    one_by_one = decoded_each_time(fitness.search, 1, trained)
    kept_one_by_one = Inputs(fitness.search, 1, detector, CPU, kept=True, cache_mb=0, disk=None)
    by_seed = [Row("official procedure", official(kind, runs, seed, BATCHES, MOMENTUM)) for seed in range(SEEDS)]
    table = [
        by_seed[0],
        Row(f"{count} recalibration batches, averaged", official(kind, runs, 0, count, None)),
        Row("one process, no checkpoints", in_this_process(trained)),
        Row("passes without losses, to the last norm", without_losses(trained, fresh, one_by_one)),
        Row("pictures prepared once", without_losses(trained, fitness.calibration, kept_one_by_one)),
        Row("judged in batches", without_losses(trained, fitness.calibration, fitness.judged)),
        Row("hotcoco", ours(trained.fitness(), prefixes=False)),
    ]
    if kind == "fpn":
        trained = load(kind, runs, PROPOSALS)
        table.append(Row(PROPOSALS.replace("=", ": "), ours(trained.fitness(), prefixes=False)))
    sampler = BudgetSampler(trained.recipe.search_space(), trained.recipe.cost_budget())
    few = drawn(sampler, FEW)
    for row in (*by_seed[1:], *table):
        for architecture in few:
            row.judge(architecture)
        print(f"  {row.name}: {fmean(row.seconds):.2f} s", flush=True)
    whole = Row("common prefixes: what detnas does", ours(trained.fitness(), prefixes=True))
    before = Row("the same, candidates of a search", table[-1].way)
    search_with(whole, settings, sampler)
    for architecture in whole.scores:
        before.judge(architecture)
    whole.scores |= {architecture: whole.way(architecture) for architecture in few}
    return [*table, before, whole], by_seed


def drawn(sampler: BudgetSampler, count: int) -> list[Architecture]:
    rng = np.random.default_rng(0)
    return [architecture for _ in range(count) if (architecture := sampler.sample(rng)) is not None]


def search_with(row: Row, settings: SearchSettings, sampler: BudgetSampler) -> None:
    """An evolution whose candidates `row` judges."""
    settings = settings.model_copy(update={"evaluations": SEARCHED})
    with tempfile.TemporaryDirectory() as temporary:
        progress = Progress(quiet=True)
        search(lambda one: {"mAP": row.judge(one)}, sampler, settings, Path(temporary), seed=0, progress=progress)


def results(table: list[Row], by_seed: list[Row]) -> dict[str, Any]:
    few = list(by_seed[0].scores)
    official_scores = np.array([[row.scores[architecture] for architecture in few] for row in by_seed])
    first = fmean([second for row in by_seed for second in row.seconds])
    lines = []
    for row in table:
        seconds = first if row is table[0] else fmean(row.seconds)
        line = {"way": row.name, "candidates": len(row.seconds), "seconds": round(seconds, 3)}
        line["times cheaper"] = round(first / seconds, 1)
        if all(architecture in row.scores for architecture in few):
            scores = np.array([row.scores[architecture] for architecture in few])
            line["mAP"] = [round(float(score), 4) for score in scores]
            if row is not table[0]:
                line["mean difference of mAP"] = round(float((scores - official_scores.mean(axis=0)).mean()), 4)
        lines.append(line)
    return {
        "candidates": [str(architecture) for architecture in few],
        "official mAP by seed": official_scores.round(4).tolist(),
        "its standard deviation between seeds": round(float(official_scores.std(axis=0, ddof=1).mean()), 4),
        "rows": lines,
    }


def table_of(found: dict[str, Any]) -> str:
    """For people, in Markdown."""
    columns = ("way", "candidates", "seconds", "times cheaper", "mean difference of mAP")
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in found["rows"]:
        lines.append("| " + " | ".join(str(row.get(column, "")) for column in columns) + " |")
    return "\n".join(lines)


def main() -> None:
    found: dict[str, Any] = {"machine": machine(), "supernets": {name: vars(case) for name, case in CASES.items()}}
    with supernets_folder() as runs:
        for kind in CASES:
            train(kind, runs)
            print(kind, flush=True)
            found[kind] = results(*rows(kind, runs))
            print(table_of(found[kind]), flush=True)
            print(f"mAP of the official procedure by seed: {found[kind]['official mAP by seed']}", flush=True)
    if not TINY:
        write_json(Path(__file__).parent / "results" / "fitness.json", found)


if __name__ == "__main__":
    main()
