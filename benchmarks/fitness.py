"""What a candidate costs, beside the official procedure: python -m benchmarks.fitness writes benchmarks/results/fitness.json.

The official procedure (`official.py`) is re-created on small trained supernets, one with each detector, then ours is
put in its place part by part: each row of a table has all that the rows above it have. Seconds are means over the
candidates of a row. The first rows judge the same few, the official procedure by three seeds of its recalibration,
whose spread is the noise; the last two the candidates of a search by the evolution. From passes without losses on, a
box head's statistics are those of the supernet's training (research/box_head_norms.py).

With `--keep FOLDER` the supernets stay there for the next time; with `--tiny` it is a quick trial that prints only.
About forty minutes, three of them for the supernets.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.machine import machine
from benchmarks.official import (
    BATCHES,
    CPU,
    MOMENTUM,
    found_one_by_one,
    judge_in_processes,
    pycocotools_map,
    recalibrate,
)
from benchmarks.supernets import CASES, TINY, Trained, load, supernets_folder, train
from detnas.config import SearchSettings
from detnas.data.detection import DetectionSet
from detnas.models.detectors.detect import detect
from detnas.models.supernet import extract_subnet
from detnas.search.evaluators import recalibration
from detnas.search.evaluators.detection import DetectionEvaluator
from detnas.search.evaluators.inputs import Inputs
from detnas.search.study.study import search
from detnas.spaces import Architecture, BudgetSampler
from detnas.utils.files import write_json, write_text
from detnas.utils.progress import Progress

FEW, SEEDS, SEARCHED = (1, 2, 4) if TINY else (3, 3, 16)
"""Candidates of the first rows, recalibrations of each in the first one, and candidates of the last rows."""
PROPOSALS = "search.proposals=300"
ROOT = Path(__file__).parent.parent
START, END = "<!-- tables: benchmarks/fitness.py -->\n", "<!-- end of tables -->"
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


def official(kind: str, runs: Path, *changes: str, seed: int, batches: int, momentum: float | None) -> Way:
    return lambda one: judge_in_processes(kind, runs, one, seed, batches, momentum, changes)


def in_this_process(trained: Trained) -> Way:
    """Changes the statistics of the supernet, which is of no other use afterwards."""

    def way(architecture: Architecture) -> float:
        recalibrate(trained, architecture, 0, trained.recipe.search.recalibration_batches, None)
        return pycocotools_map(trained, found_one_by_one(trained))

    return way


def without_losses(trained: Trained, calibration: Inputs, judged: Inputs) -> Way:
    """Recalibration as ours on `calibration`, judging on `judged`, both as they come; pycocotools."""

    def way(architecture: Architecture) -> float:
        candidate = extract_subnet(trained.supernet, architecture)
        recalibration.recalibrate(candidate, calibration)
        return pycocotools_map(trained, [one for images in judged for one in detect(candidate, images, CPU)])

    return way


def ours(fitness: DetectionEvaluator, prefixes: bool) -> Way:
    def way(architecture: Architecture) -> float:
        found = fitness(architecture)["mAP"]
        assert found is not None
        return found

    if not prefixes:
        fitness.prefixes.room = 0
    return way


def decoded_each_time(data: DetectionSet, batch_size: int, trained: Trained) -> Inputs:
    return Inputs(data, batch_size, trained.recipe.detector, CPU, kept=False, cache_mb=0, disk=None)


def rows(kind: str, runs: Path) -> tuple[list[Row], list[Row]]:
    """The table of a detector; and the official procedure with each seed."""
    by_seed = [
        Row("official procedure", official(kind, runs, seed=seed, batches=BATCHES, momentum=MOMENTUM))
        for seed in range(SEEDS)
    ]
    settings = load(kind, runs).recipe.search
    count = settings.recalibration_batches
    table = [
        by_seed[0],
        Row(f"{count} recalibration batches, averaged", official(kind, runs, seed=0, batches=count, momentum=None)),
    ]
    changes = (PROPOSALS,) if kind == "fpn" else ()
    if changes:
        way = official(kind, runs, *changes, seed=0, batches=count, momentum=None)
        table.append(Row(f"{PROPOSALS}, for the detector's 1000", way))
    trained = load(kind, runs, *changes)
    fitness = trained.fitness()
    fresh = decoded_each_time(fitness.calibration.data, settings.recalibration_batch_size, trained)
    one_by_one = decoded_each_time(fitness.search, 1, trained)
    kept_one_by_one = Inputs(fitness.search, 1, trained.recipe.detector, CPU, kept=True, cache_mb=0, disk=None)
    table += [
        Row("one process, no checkpoints", in_this_process(load(kind, runs, *changes))),
        Row("passes without losses, to the last norm", without_losses(trained, fresh, one_by_one)),
        Row("images prepared once", without_losses(trained, fitness.calibration, kept_one_by_one)),
        Row("judged in batches", without_losses(trained, fitness.calibration, fitness.judged)),
        Row("hotcoco", ours(trained.fitness(), prefixes=False)),
    ]
    sampler = BudgetSampler(trained.recipe.search_space(), trained.recipe.cost_budget())
    few = drawn(sampler, FEW)
    for row in (*by_seed[1:], *table):
        for architecture in few:
            row.judge(architecture)
        print(f"  {row.name}: {fmean(row.seconds):.2f} s", flush=True)
    whole = Row("common prefixes: what detnas does", ours(trained.fitness(), prefixes=True))
    before = Row("the same, candidates of a search", table[-1].way)
    search_with((before, whole), settings, sampler)
    assert before.scores == whole.scores  # to the bit
    whole.scores |= {architecture: whole.way(architecture) for architecture in few}
    return [*table, before, whole], by_seed


def drawn(sampler: BudgetSampler, count: int) -> list[Architecture]:
    rng = np.random.default_rng(0)
    return [architecture for _ in range(count) if (architecture := sampler.sample(rng)) is not None]


def search_with(ways: Sequence[Row], settings: SearchSettings, sampler: BudgetSampler) -> None:
    """An evolution, each of whose candidates is judged in all ways."""
    settings = settings.model_copy(update={"evaluations": SEARCHED})

    def judge(architecture: Architecture) -> dict[str, float | None]:
        return {"mAP": [way.judge(architecture) for way in ways][-1]}

    with tempfile.TemporaryDirectory() as temporary:
        search(judge, sampler, settings, Path(temporary), seed=0, progress=Progress(quiet=True))


def results(table: list[Row], by_seed: list[Row]) -> dict[str, Any]:
    few = list(by_seed[0].scores)
    official_scores = np.array([[row.scores[architecture] for architecture in few] for row in by_seed])
    seconds = {row.name: fmean(row.seconds) for row in table}
    first = seconds[table[0].name] = fmean([second for row in by_seed for second in row.seconds])
    lines = []
    for row, above in zip(table, [table[0], *table], strict=False):
        line = {"way": row.name, "candidates": len(row.seconds), "seconds": round(seconds[row.name], 3)}
        line["times cheaper"] = round(first / seconds[row.name], 2)
        line["saves of the row above"] = round(1 - seconds[row.name] / seconds[above.name], 3)
        if row.scores.keys() >= set(few):
            scores = np.array([row.scores[architecture] for architecture in few])
            line["mAP"] = scores.round(4).tolist()
            line["mean difference of mAP"] = round(float((scores - official_scores.mean(axis=0)).mean()), 4)
        lines.append(line)
    return {
        "candidates": [str(architecture) for architecture in few],
        "official mAP by seed": official_scores.round(4).tolist(),
        "standard deviation between seeds": round(float(official_scores.var(axis=0, ddof=1).mean() ** 0.5), 4),
        "blocks in common with an earlier candidate": round(fmean(blocks_in_common(list(table[-2].scores))), 2),
        "rows": lines,
    }


def blocks_in_common(searched: Sequence[Architecture]) -> list[int]:
    """With how many blocks of some earlier candidate each but the first begins."""

    def same(one: Architecture, other: Architecture) -> int:
        return sum(1 for _ in takewhile(lambda ops: ops[0] == ops[1], zip(one.ops, other.ops, strict=True)))

    return [max(same(one, earlier) for earlier in searched[:place]) for place, one in enumerate(searched) if place]


def table_of(found: dict[str, Any]) -> str:
    """For people, in Markdown."""
    lines = [
        "| a row has what those above have | seconds | times cheaper | saves of the row above | mAP, less official |",
        "|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        cells = [row["way"], f"{row['seconds']:.3g}", f"{row['times cheaper']:.3g}"]
        cells.append(f"{row['saves of the row above']:.0%}")
        cells.append(f"{row['mean difference of mAP']:+.4f}" if "mAP" in row else "")
        lines.append("| " + " | ".join(cells) + " |")
    noise = found["standard deviation between seeds"]
    return "\n".join(lines) + (
        f"\n\nStandard deviation of the official mAP between recalibrations: {noise}. The candidates of the search "
        f"begin with {found['blocks in common with an earlier candidate']} blocks of an earlier one on average.\n"
    )


def main() -> None:
    found: dict[str, Any] = {"machine": machine(), "supernets": {name: vars(case) for name, case in CASES.items()}}
    with supernets_folder() as runs:
        for kind in CASES:
            train(kind, runs)
            print(kind, flush=True)
            found[kind] = results(*rows(kind, runs))
            print(table_of(found[kind]), flush=True)
    if not TINY:
        write_json(ROOT / "benchmarks" / "results" / "fitness.json", found)
        notes = ROOT / "docs" / "candidate-cost.md"
        before, _, rest = notes.read_text().partition(START)
        tables = "\n".join(f"`{kind}`:\n\n{table_of(found[kind])}" for kind in CASES)
        write_text(notes, before + START + tables + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
