"""Ways to find a network, compared within a budget by what they find, trained standalone: of the benches that do so.

    python -m research.NAME [--plan] [--summary] [--tiny]

What each way finds is trained standalone as in research/architectures.py, three times; random networks once each. Ways share
what they have in common: supernets (also those of research/ranking_quality.py), pre-trainings, and networks trained standalone.
`--plan` says what is left and how long it takes.
"""

import sys
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import fmean, median, variance

import numpy as np

from benchmarks.machine import machine
from detnas.run.context import Run
from detnas.run.pipeline import run
from detnas.spaces import Architecture, BudgetSampler
from detnas.utils.files import read_json, try_lock_file, write_json
from detnas.utils.progress import Progress, format_duration
from detnas.utils.seeds import derive_seed
from research.workspace import (
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

APART = 3
"""From one seed of a network's trainings to the next; so far apart none is another's too."""
DETNAS, CHANCE, PLAIN, CLASSIFICATION = "DetNAS", "random networks", "all shuffle3", "ClsNAS"
LINEAR, RANDOM_SEARCH, SCRATCH = "linear search", "random search", "DetNAS-scratch"
SEARCHES: dict[str, tuple[str | None, tuple[str, ...]]] = {
    DETNAS: ("uniform", ()),
    LINEAR: ("uniform", ("search.sampler=linear",)),
    RANDOM_SEARCH: ("uniform", ("search.sampler=random",)),
    SCRATCH: ("scratch", ()),
    # Without a detector, 3.5 times as much pre-training: as long as both trainings of the others.
    CLASSIFICATION: (None, ("search.fitness=classification", "supernet_pretrain.steps=4200")),
}
"""The supernet of each, if it is not its own, and changes to the recipe."""
REPEATS = 2 if TINY else 3
"""Trainings whose mean counts, of each way with each seed: of one network, or of so many random ones."""
STUDENT = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
"""With one degree of freedom, with two, and so on: how many standard errors a 95 % interval reaches to each side."""
GUESS = {
    "retinanet": {"supernet-pretrain": 60, "supernet-finetune": 130, "search": 150, "pretrain": 40, "finetune": 75},
    "fpn": {"supernet-pretrain": 60, "supernet-finetune": 300, "search": 300, "pretrain": 40, "finetune": 170},
}
"""Seconds of a stage on one core, before any has been measured."""


@dataclass(frozen=True)
class Comparison:
    """Ways that are compared.

    Args:
        name: of its file of results.
        within: the searches' budgets, as changes to the recipe.
        seeds: by detector.
        ways: DetNAS first, all-`shuffle3` among them; those that search are of `SEARCHES`.
    """

    name: str
    within: tuple[str, ...]
    seeds: dict[str, tuple[int, ...]]
    ways: tuple[str, ...]

    @property
    def file(self) -> Path:
        return RESULTS / f"{self.name}.json"

    @property
    def measured(self) -> Row:
        """How, whatever the way."""
        return {
            "changes": [*CHANGES, *SUPERNET],
            "within": list(self.within),
            "repeats": REPEATS,
            "of the detector": {detector: list(BASES[detector][1]) for detector in self.seeds},
        }

    def searched(self, way: str, detector: str, seed: int) -> Path:
        """The run directory of a search, which is done unless it is; waits for who is at it."""
        kind, changes = SEARCHES[way]
        folder = RUNS / f"{self.name}-{hyphenated(way)}-{detector}-seed{seed}"
        if kind is not None:
            source, stages = supernet(kind, detector, seed), TRAININGS
        else:  # no detector takes part
            source = folder if detector == "retinanet" else self.searched(way, "retinanet", seed)
            stages = ("supernet-pretrain", "search")
        with alone_at(folder.name):
            recipe = recipe_of(detector, seed, (*self.within, *supernet_changes(kind or "uniform"), *changes))
            run(recipe, folder, data_folder(), stages=())
            for stage in stages:
                take_stage(stage, source, folder)
            return run(recipe, folder, data_folder(), progress=Progress(), stages=(*TRAININGS, "search"))

    def sampler(self) -> BudgetSampler:
        """Draws random networks within the budget."""
        recipe = recipe_of(changes=self.within)
        return BudgetSampler(recipe.search_space(), recipe.cost_budget())

    def drawn(self, seed: int) -> list[Architecture]:
        """Random networks within the budget."""
        sampler = self.sampler()
        rng = np.random.default_rng(derive_seed(seed, CHANCE))
        found: list[Architecture] = []
        while len(found) < REPEATS and (architecture := sampler.sample(rng, frozenset(found))) is not None:
            found.append(architecture)
        return found

    def networks(self, way: str, detector: str, seed: int, alone: list[Run]) -> list[Row]:
        """What a way finds with a seed, trained in each of these runs; random networks in the first."""
        about: Row = {}
        if way == PLAIN:
            chosen = [recipe_of().search_space().uniform("shuffle3")] * REPEATS
        elif way == CHANCE:
            chosen, alone = self.drawn(seed), alone[:1] * REPEATS
        else:
            folder = self.searched(way, detector, seed)
            best = read_json(folder / "search" / "best.json")
            chosen = [Architecture.parse(best["architecture"])] * REPEATS
            about = {"fitness": round(best["fitness"], 5), "search seconds": stage_seconds(folder)}
        return [
            {**trained_alone(run, one), "training seed": run.recipe.seed, **about}
            for run, one in zip(alone, chosen, strict=True)
        ]

    def result_file(self, detector: str, way: str, seed: int) -> Path:
        return RUNS / self.name / f"{detector}-{hyphenated(way)}-seed{seed}.json"

    def known(self, detector: str, way: str, seed: int) -> list[Row]:
        """The networks that a way has found with a seed, here or where the file was written; none if it is not done."""
        file = self.result_file(detector, way, seed)
        if file.exists():
            rows: list[Row] = read_json(file)
            return rows
        there = recorded(self.file, **self.measured)
        if not there or there["searches"].get(way) != searches(self.ways).get(way):
            return []
        rows = there["networks"].get(detector, {}).get(way, [])
        return [{key: row[key] for key in row if key != "seed"} for row in rows if row["seed"] == seed]

    def trainings(self, detector: str) -> list[Row]:
        """Those on record, which have to be there."""
        if not self.file.exists():
            sys.exit(f"{self.file} is missing: python -m research {self.name} comes first")
        return [row for rows in read_json(self.file)["networks"][detector].values() for row in rows]

    def trained(self, detector: str) -> dict[str, float]:
        """The mean mAP of each network on record, by architecture."""
        by_network: dict[str, list[float]] = {}
        for row in self.trainings(detector):
            by_network.setdefault(row["architecture"], []).append(row["mAP"])
        return {architecture: fmean(scores) for architecture, scores in by_network.items()}

    def rows_of(self, detector: str, way: str) -> list[Row]:
        """All networks of a way, as far as its seeds are done."""
        return [{"seed": seed, **row} for seed in self.seeds[detector] for row in self.known(detector, way, seed)]

    def plan(self) -> None:
        """Print what is left, at most: ways may find the same network."""
        total = 0.0
        for detector, seeds in self.seeds.items():
            left = [(way, seed) for seed in seeds for way in self.ways if not self.known(detector, way, seed)]
            searching = [unit for unit in left if unit[0] in SEARCHES]
            kinds = {(kind, seed) for way, seed in searching if (kind := SEARCHES[way][0])}
            supernets = [
                (kind, seed)
                for kind, seed in kinds
                if not seconds_of(supernet_folder(kind, detector, seed) / TRAININGS[-1])
            ]
            longer = 3.5 * len([way for way, _ in searching if way == CLASSIFICATION])
            pretrained = len([kind for kind, _ in supernets if kind != "scratch"]) + longer
            count = {
                "supernet-pretrain": pretrained * (detector == "retinanet"),  # the other one takes them from it
                "supernet-finetune": len(supernets),
                "search": len(searching),
                "pretrain": REPEATS * len(left),
            }
            count["finetune"] = count["pretrain"]
            for stage, number in count.items():
                one = measured_seconds(stage, detector) or GUESS[detector][stage]
                total += number * one
                print(f"{detector} {stage}: {number:g} of {one:.0f} s")
        print(f"in all {format_duration(total)} of one core")

    def measure(self, detector: str, seed: int) -> None:
        """Go all ways that are not done and at which no other process is."""
        left = [way for way in self.ways if not self.known(detector, way, seed)]
        if not left:
            return
        with ExitStack() as stack:
            seeds = [seed + APART * i for i in range(REPEATS)]
            alone = [stack.enter_context(networks_alone(detector, one)) for one in seeds]
            for way in left:
                file = self.result_file(detector, way, seed)
                with try_lock_file(RUNS / f".{self.name}-{file.stem}.lock") as mine:
                    if mine and not self.known(detector, way, seed):
                        print(f"{way}, {detector}, seed {seed}", flush=True)
                        write_json(file, self.networks(way, detector, seed, alone))

    def main(self) -> None:
        if "--plan" in sys.argv:
            self.plan()
            return
        for detector, seeds in () if "--summary" in sys.argv else self.seeds.items():
            for seed in seeds:
                self.measure(detector, seed)
        found = {
            detector: {way: rows for way in self.ways if (rows := self.rows_of(detector, way))}
            for detector in self.seeds
        }
        told = {detector: estimates({detector: of}, self.ways) for detector, of in found.items()}
        if len(found) > 1:
            told["both"] = estimates(found, self.ways)
        write_json(
            self.file,
            {
                **self.measured,
                "searches": searches(self.ways),
                "machine": machine(),
                "seeds": {detector: list(seeds) for detector, seeds in self.seeds.items()},
                "estimates": {of: estimate for of, estimate in told.items() if estimate},
                "networks": found,
            },
        )


def searches(ways: Collection[str]) -> dict[str, list[str | None]]:
    """How those of the ways search that do: the supernet's kind, and changes to the recipe."""
    return {way: [kind, *changes] for way, (kind, changes) in SEARCHES.items() if way in ways}


def stage_seconds(folder: Path) -> dict[str, float]:
    return {stage: seconds_of(folder / stage) for stage in (*TRAININGS, "search") if (folder / stage).exists()}


def measured_seconds(stage: str, detector: str) -> float | None:
    """The median of what such a stage took so far."""
    places = [*RUNS.glob(f"*-{detector}-seed*/{stage}"), *RUNS.glob(f"*-{detector}-seed*/{stage}/*")]
    seconds = [found for place in places if (found := seconds_of(place))]
    return median(seconds) if seconds else None


def estimates(found: Row, ways: tuple[str, ...]) -> Row:
    """Each way's mean mAP, and what the first is above it, from `found[detector][way]`, by the blocks all ways share.

    A block is a seed with a detector. The 95 % intervals are by the residual of an analysis of variance by way and
    block: what a block does to all ways alike is in no interval.
    """
    cells: dict[str, dict[tuple[str, int], list[float]]] = {way: {} for way in ways}
    for detector, by_way in found.items():
        for way, rows in by_way.items():
            for row in rows:
                cells[way].setdefault((detector, row["seed"]), []).append(row["mAP"])
    blocks = [block for block in cells[PLAIN] if all(block in of for of in cells.values())]
    if len(blocks) < 2:
        return {}
    table = np.array([[fmean(of[block]) for block in blocks] for of in cells.values()])
    means = table.mean(1)
    residual = table - means[:, None] - table.mean(0) + table.mean()
    freedom = (len(ways) - 1) * (len(blocks) - 1)
    deviation = sqrt(float((residual**2).sum()) / freedom)
    reach = STUDENT[freedom - 1] * deviation / sqrt(len(blocks))
    about: Row = {}
    for way, mean, of in zip(ways, means.tolist(), table.tolist(), strict=True):
        about[way] = {"mAP": interval(mean, reach), "of each block": [round(value, 5) for value in of]}
        if way != ways[0]:
            about[way][f"{ways[0]} less this"] = interval(means[0] - mean, sqrt(2) * reach)
    of_one_network = [variance(of[block]) for way, of in cells.items() if way != CHANCE for block in blocks]
    return {
        "blocks": len(blocks),
        "residual standard deviation": round(deviation, 5),
        "standard deviation between trainings": round(sqrt(fmean(of_one_network)), 5),
        "ways": about,
    }


def interval(mean: float, reach: float) -> Row:
    return {"value": round(mean, 5), "low": round(mean - reach, 5), "high": round(mean + reach, 5)}
