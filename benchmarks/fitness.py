"""What the evaluation of a candidate costs, beside the official procedure (benchmarks/official.py).

The official procedure is re-created on small trained supernets, one with each detector, then replaced by ours part by
part: each row of a table has all that the rows above it have. Seconds are means over the candidates of a row. The first
rows evaluate the same few candidates, the official procedure with three seeds of its recalibration, whose standard
deviation is the noise; the last two rows evaluate the candidates of a search by evolution. From passes without losses
on, a box head's statistics are those of the supernet's training (research/box_head_norms.py).
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import typer

from benchmarks import official
from benchmarks.command import Keep, Tiny, save
from benchmarks.supernets import CASES, CPU, Trained, load, supernets_folder, train
from detnas.config import SearchSettings
from detnas.data.detection import DetectionSet
from detnas.models.detectors.detect import detect
from detnas.models.supernet import extract_subnet
from detnas.search.evaluators import recalibration
from detnas.search.evaluators.detection import DetectionEvaluator
from detnas.search.evaluators.inputs import Inputs
from detnas.search.study.study import search
from detnas.spaces import Architecture, BudgetSampler
from detnas.utils.progress import Progress

PROPOSALS = "search.proposals=300"
Evaluate = Callable[[Architecture], float]
"""Returns a candidate's mAP."""


class Size(NamedTuple):
    """How much is measured: candidates of the first rows, official recalibrations of each, their batches, and
    candidates of the search."""

    candidates: int
    seeds: int
    batches: int
    evaluations: int


class Row:
    """A way of evaluating candidates, and what has been measured of it."""

    def __init__(self, name: str, evaluate: Evaluate) -> None:
        self.name = name
        self.evaluate = evaluate
        self.seconds: list[float] = []
        self.scores: dict[Architecture, float] = {}

    def measure(self, architecture: Architecture) -> float:
        began = time.perf_counter()
        score = self.scores[architecture] = self.evaluate(architecture)
        self.seconds.append(time.perf_counter() - began)
        return score


def in_this_process(trained: Trained, architecture: Architecture) -> float:
    """The official procedure without processes. It changes the statistics of the supernet."""
    official.recalibrate(trained, architecture, 0, trained.recipe.search.recalibration_batches, None)
    return official.pycocotools_map(trained, official.detect_one_by_one(trained))


def without_losses(trained: Trained, calibration: Inputs, images: Inputs, architecture: Architecture) -> float:
    """Our recalibration on `calibration`, then detection on `images` and pycocotools."""
    candidate = extract_subnet(trained.supernet, architecture)
    recalibration.recalibrate(candidate, calibration)
    return official.pycocotools_map(trained, [one for batch in images for one in detect(candidate, batch, CPU)])


def ours(evaluator: DetectionEvaluator, architecture: Architecture) -> float:
    score = evaluator(architecture)["mAP"]
    assert score is not None
    return score


def decoded_each_time(data: DetectionSet, batch_size: int, trained: Trained) -> Inputs:
    return Inputs(data, batch_size, trained.recipe.detector, CPU, kept=False, cache_mb=0, disk=None)


def measure(kind: str, runs: Path, size: Size) -> tuple[list[Row], list[Row]]:
    """The rows of a detector's table; and the official procedure with each seed."""
    in_processes = partial(official.evaluate_in_processes, kind, runs)
    by_seed = [
        Row("official procedure", partial(in_processes, seed=seed, count=size.batches, momentum=official.MOMENTUM))
        for seed in range(size.seeds)
    ]
    settings = load(kind, runs).recipe.search
    count = settings.recalibration_batches
    averaged = partial(in_processes, seed=0, count=count, momentum=None)
    table = [by_seed[0], Row(f"{count} recalibration batches, averaged", averaged)]
    changes = (PROPOSALS,) if kind == "fpn" else ()
    if changes:
        table.append(Row(f"{PROPOSALS}, for the detector's 1000", partial(averaged, changes=changes)))
    trained = load(kind, runs, *changes)
    evaluator = trained.evaluator()
    fresh = decoded_each_time(evaluator.calibration.data, settings.recalibration_batch_size, trained)
    one_by_one = decoded_each_time(evaluator.search, 1, trained)
    kept_one_by_one = Inputs(evaluator.search, 1, trained.recipe.detector, CPU, kept=True, cache_mb=0, disk=None)
    without_prefixes = trained.evaluator()
    without_prefixes.prefixes.room = 0
    prepared_once = partial(without_losses, trained, evaluator.calibration)
    table += [
        Row("one process, no checkpoints", partial(in_this_process, load(kind, runs, *changes))),
        Row("passes without losses, to the last norm", partial(without_losses, trained, fresh, one_by_one)),
        Row("images prepared once", partial(prepared_once, kept_one_by_one)),
        Row("evaluated in batches", partial(prepared_once, evaluator.evaluated)),
        Row("hotcoco", partial(ours, without_prefixes)),
    ]
    few = trained.draw(size.candidates)
    for row in (*by_seed[1:], *table):
        for architecture in few:
            row.measure(architecture)
        print(f"  {row.name}: {fmean(row.seconds):.2f} s", flush=True)
    whole = Row("common prefixes: what detnas does", partial(ours, trained.evaluator()))
    before = Row("the same, candidates of a search", table[-1].evaluate)
    settings = settings.model_copy(update={"evaluations": size.evaluations})
    search_with((before, whole), settings, trained.sampler)
    assert before.scores == whole.scores  # to the bit
    whole.scores |= {architecture: whole.evaluate(architecture) for architecture in few}
    return [*table, before, whole], by_seed


def search_with(rows: Sequence[Row], settings: SearchSettings, sampler: BudgetSampler) -> None:
    """Search by evolution, each candidate being measured for all rows."""

    def evaluate(architecture: Architecture) -> dict[str, float | None]:
        return {"mAP": [row.measure(architecture) for row in rows][-1]}

    with tempfile.TemporaryDirectory() as temporary:
        search(evaluate, sampler, settings, Path(temporary), seed=0, progress=Progress(quiet=True))


def results(table: list[Row], by_seed: list[Row]) -> dict[str, Any]:
    few = list(by_seed[0].scores)
    official_scores = np.array([[row.scores[architecture] for architecture in few] for row in by_seed])
    seconds = {row.name: fmean(row.seconds) for row in table}
    first = seconds[table[0].name] = fmean([second for row in by_seed for second in row.seconds])
    lines = []
    for row, above in zip(table, [table[0], *table], strict=False):
        line = {"procedure": row.name, "candidates": len(row.seconds), "seconds": round(seconds[row.name], 3)}
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
    """The number of first blocks that each candidate but the first shares with an earlier one, at most."""

    def same(one: Architecture, other: Architecture) -> int:
        return sum(1 for _ in takewhile(lambda ops: ops[0] == ops[1], zip(one.ops, other.ops, strict=True)))

    return [max(same(one, earlier) for earlier in searched[:place]) for place, one in enumerate(searched) if place]


def main(keep: Keep = None, tiny: Tiny = False) -> None:
    """Measure the evaluation of candidates, in about forty minutes; write benchmarks/results/fitness.json."""
    size = Size(1, 2, 4, 4) if tiny else Size(3, 3, official.BATCHES, 16)
    found: dict[str, Any] = {"supernets": {name: vars(case) for name, case in CASES.items()}}
    with supernets_folder(keep) as runs:
        for kind in CASES:
            train(kind, runs, tiny)
            print(kind, flush=True)
            found[kind] = results(*measure(kind, runs, size))
    save("fitness", found, tiny)


if __name__ == "__main__":
    typer.run(main)
