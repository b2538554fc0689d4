"""The paper's comparison at equal FLOPs, in miniature. Writes bench/results/comparison.json.

    python bench/comparison.py [--plan] [--summary] [--tiny]

DetNAS, random search and DetNAS-scratch at equal evaluations, ClsNAS, three random networks, and all-`shuffle3`, each
with three seeds and both detectors, all within 3 % of the multiply-adds of all-`shuffle3`. What each way finds is
trained alone as in bench/architectures.py. Ways share what they have in common: supernets (also those of
bench/ranking_quality.py), pre-trainings, and networks trained alone. `--plan` says what is left and how long it takes.
"""

import sys
from math import sqrt
from pathlib import Path
from statistics import fmean, median, stdev

import numpy as np
from evidence import (
    BASES,
    CHANGES,
    RESULTS,
    RUNS,
    SUPERNET,
    TINY,
    TRAININGS,
    Row,
    alone_at,
    data_folder,
    hyphenated,
    networks_alone,
    recipe_of,
    recorded,
    seconds_of,
    supernet,
    supernet_changes,
    supernet_folder,
    take_stage,
    trained_alone,
)
from machine import machine

from detnas.files import held, read_json, write_json
from detnas.pipeline import run
from detnas.progress import Progress, duration
from detnas.running import Run
from detnas.seeds import seed_of
from detnas.spaces import Architecture, BudgetSampler

SEEDS = (0, 1) if TINY else (0, 1, 2)
EQUAL = ("budget.flops_min=36M", "budget.flops_max=38.2M", "search.evaluations=60")
CHANCE, PLAIN, CLASSIFICATION = "random networks", "all shuffle3", "ClsNAS"
SEARCHES: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "DetNAS": ("uniform", ()),
    "random search": ("uniform", ("search.sampler=random",)),
    "DetNAS-scratch": ("scratch", ()),
    # Without a detector, 3.5 times as much pre-training: as long as both trainings of the others.
    CLASSIFICATION: (None, ("search.fitness=classification", "supernet_pretrain.steps=4200")),
}
"""The supernet of each, if it is not its own, and changes to the recipe."""
WAYS = ("DetNAS", PLAIN, CHANCE, *(name for name in SEARCHES if name != "DetNAS"))
RANDOM = 2 if TINY else 3
"""Networks drawn with each seed."""
FILE = RESULTS / "comparison.json"
MEASURED: Row = {
    "changes": [*CHANGES, *SUPERNET],
    "equal": list(EQUAL),
    "searches": {way: [kind, *changes] for way, (kind, changes) in SEARCHES.items()},
    "of the detector": {detector: list(own) for detector, (_, own) in BASES.items()},
}
"""How."""
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""Of so many values: how many standard errors of the mean its 95 % interval reaches to each side."""
GUESS = {
    "retinanet": {"supernet-pretrain": 60, "supernet-finetune": 130, "search": 150, "pretrain": 40, "finetune": 75},
    "fpn": {"supernet-pretrain": 60, "supernet-finetune": 300, "search": 300, "pretrain": 40, "finetune": 170},
}
"""Seconds of a stage on one core, before any has been measured."""


def searched(way: str, detector: str, seed: int) -> Path:
    """The run directory of a search, which is done unless it is; waits for who is at it."""
    kind, changes = SEARCHES[way]
    folder = RUNS / f"search-{hyphenated(way)}-{detector}-seed{seed}"
    if kind is not None:
        source, stages = supernet(kind, detector, seed), TRAININGS
    else:  # no detector takes part
        source = folder if detector == "retinanet" else searched(way, "retinanet", seed)
        stages = ("supernet-pretrain", "search")
    with alone_at(folder.name):
        recipe = recipe_of(detector, seed, (*EQUAL, *supernet_changes(kind or "uniform"), *changes))
        run(recipe, folder, data_folder(), stages=())
        for stage in stages:
            take_stage(stage, source, folder)
        return run(recipe, folder, data_folder(), progress=Progress(), stages=(*TRAININGS, "search"))


def drawn(seed: int) -> list[Architecture]:
    recipe = recipe_of(changes=EQUAL)
    sampler = BudgetSampler(recipe.search_space(), recipe.cost_budget())
    rng = np.random.default_rng(seed_of(seed, CHANCE))
    found: list[Architecture] = []
    while len(found) < RANDOM and (architecture := sampler.sample(rng, frozenset(found))) is not None:
        found.append(architecture)
    return found


def networks(way: str, detector: str, alone: Run) -> list[Row]:
    """What a way finds with the seed of the run in which it is trained alone."""
    seed = alone.recipe.seed
    about: Row = {}
    if way == PLAIN:
        chosen = [recipe_of().search_space().uniform("shuffle3")]
    elif way == CHANCE:
        chosen = drawn(seed)
    else:
        folder = searched(way, detector, seed)
        best = read_json(folder / "search" / "best.json")
        chosen = [Architecture.parse(best["architecture"])]
        about = {"fitness": round(best["fitness"], 5), "search seconds": stage_seconds(folder)}
    return [{**trained_alone(alone, one), **about} for one in chosen]


def stage_seconds(folder: Path) -> dict[str, float]:
    return {stage: seconds_of(folder / stage) for stage in (*TRAININGS, "search") if (folder / stage).exists()}


def result_file(detector: str, way: str, seed: int) -> Path:
    return RUNS / "comparison" / f"{detector}-{hyphenated(way)}-seed{seed}.json"


def known(detector: str, way: str, seed: int) -> list[Row]:
    """The networks that a way has found with a seed, here or where the file was written; none if it is not done."""
    file = result_file(detector, way, seed)
    if file.exists():
        rows: list[Row] = read_json(file)
        return rows
    of = recorded(FILE, **MEASURED).get("detectors", {}).get(detector, {}).get(way, {"networks": []})
    return [{key: row[key] for key in row if key != "seed"} for row in of["networks"] if row["seed"] == seed]


def estimate(values: list[float]) -> Row:
    """The mean over the seeds and its 95 % interval by Student's t."""
    mean = fmean(values)
    reach = STUDENT[len(values)] * stdev(values) / sqrt(len(values)) if len(values) > 1 else None
    interval = {} if reach is None else {"low": round(mean - reach, 5), "high": round(mean + reach, 5)}
    return {"values": [round(value, 5) for value in values], "mean": round(mean, 5), **interval}


def summary(detector: str) -> Row:
    """Of each way, as far as it is done: its networks, and its mean of the seeds; and what DetNAS is above it."""
    found = {way: {seed: of for seed in SEEDS if (of := known(detector, way, seed))} for way in WAYS}
    scores = {way: {seed: fmean(row["mAP"] for row in rows) for seed, rows in by.items()} for way, by in found.items()}
    rows: Row = {}
    for way in WAYS:
        shared = [seed for seed in scores[way] if seed in scores["DetNAS"]]
        if scores[way]:
            rows[way] = {
                "mAP": estimate(list(scores[way].values())),
                "networks": [{"seed": seed, **row} for seed, of in found[way].items() for row in of],
            }
            if way != "DetNAS" and shared:
                rows[way]["DetNAS less this"] = estimate(
                    [scores["DetNAS"][seed] - scores[way][seed] for seed in shared]
                )
    return rows


def plan() -> None:
    """Print what is left, at most: ways may find the same network."""
    total = 0.0
    for detector, guess in GUESS.items():
        left = [(way, seed) for seed in SEEDS for way in WAYS if not known(detector, way, seed)]
        searches = [unit for unit in left if unit[0] in SEARCHES]
        kinds = {(kind, seed) for way, seed in searches if (kind := SEARCHES[way][0])}
        supernets = [
            (kind, seed)
            for kind, seed in kinds
            if not seconds_of(supernet_folder(kind, detector, seed) / TRAININGS[-1])
        ]
        count = {
            "supernet-pretrain": len([kind for kind, _ in supernets if kind != "scratch"])
            + 3.5 * len([way for way, _ in searches if way == CLASSIFICATION]),
            "supernet-finetune": len(supernets),
            "search": len(searches),
            "pretrain": len(left) + (RANDOM - 1) * len([way for way, _ in left if way == CHANCE]),
        }
        count["finetune"] = count["pretrain"]
        if detector == "fpn":  # RetinaNet's has it
            count["supernet-pretrain"] = 0
        for stage, number in count.items():
            one = measured(stage, detector) or guess[stage]
            total += number * one
            print(f"{detector} {stage}: {number:g} of {one:.0f} s")
    print(f"in all {duration(total)} of one core")


def measured(stage: str, detector: str) -> float | None:
    """The median of what such a stage took so far."""
    places = [*RUNS.glob(f"*-{detector}-seed*/{stage}"), *RUNS.glob(f"*-{detector}-seed*/{stage}/*")]
    seconds = [found for place in places if (found := seconds_of(place))]
    return median(seconds) if seconds else None


def measure(detector: str, seed: int) -> None:
    """Go all ways that are not done and at which no other process is."""
    left = [way for way in WAYS if not known(detector, way, seed)]
    if not left:
        return
    with networks_alone(detector, seed) as alone:
        for way in left:
            file = result_file(detector, way, seed)
            with held(RUNS / f".comparison-{file.stem}.lock") as mine:
                if mine and not known(detector, way, seed):
                    print(f"{way}, {detector}, seed {seed}", flush=True)
                    write_json(file, networks(way, detector, alone))


def main() -> None:
    if "--plan" in sys.argv:
        plan()
        return
    for detector in () if "--summary" in sys.argv else BASES:
        for seed in SEEDS:
            measure(detector, seed)
    detectors = {detector: found for detector in BASES if (found := summary(detector))}
    write_json(
        FILE,
        {
            **MEASURED,
            "machine": machine(),
            "seeds": list(SEEDS),
            "detectors": detectors,
        },
    )


if __name__ == "__main__":
    main()
