"""Methods that find a network, compared within a budget by what they find, trained standalone.

`comparison` is the paper's comparison at equal MACs, in miniature: DetNAS, random search and DetNAS-scratch at equal
evaluations, ClsNAS, three random networks, and all-`shuffle3`, with both detectors and three seeds or more each, all
within 3 % of the MACs of all-`shuffle3`. `wide-budget` gives the searches all of the benchmark's budget: DetNAS, random
networks and all-`shuffle3` with RetinaNet and three seeds, whose networks serve research/surrogate.py too.

What each method finds is trained standalone as in research/architectures.py, three times; random networks once each.
Methods share supernets (also those of research/ranking_quality.py), pre-trainings, and networks trained standalone.
"""

from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

from benchmarks.command import machine
from detnas.run.context import Run
from detnas.run.pipeline import run
from detnas.rundir.layout import BEST, SEARCH, SUPERNET_PRETRAIN
from detnas.spaces import Architecture, BudgetSampler
from detnas.utils.errors import UserError
from detnas.utils.files import read_json, try_lock_file, write_json
from detnas.utils.progress import Progress
from detnas.utils.seeds import derive_seed
from research.statistics import Blocks, pooled_deviation, rounded
from research.workspace import (
    BASES,
    CHANGES,
    SUPERNET,
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

SEED_STEP = 3
"""From one seed of a network's trainings to the next: no training of a block has the seed of another block."""
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
"""The supernet of each method that searches, unless it trains one of its own, and changes to the recipe."""


@dataclass(frozen=True)
class Comparison:
    """Methods that are compared: DetNAS first, all-`shuffle3` among them; those that search are of `SEARCHES`."""

    workspace: Workspace
    name: str
    """The name of the file of results."""
    within: tuple[str, ...]
    """The searches' budgets, as changes to the recipe."""
    seeds: dict[str, tuple[int, ...]]
    """The seeds by detector."""
    methods: tuple[str, ...]

    @property
    def file(self) -> Path:
        return self.workspace.results(self.name)

    @property
    def repeats(self) -> int:
        """The trainings whose mean counts, for each method and seed: of one network, or of as many random ones."""
        return 2 if self.workspace.tiny else 3

    @property
    def measured(self) -> Row:
        """How all methods are measured."""
        return {
            "changes": [*CHANGES, *SUPERNET],
            "within": list(self.within),
            "repeats": self.repeats,
            "detector changes": {detector: list(BASES[detector][1]) for detector in self.seeds},
        }

    def search(self, method: str, detector: str, seed: int) -> Path:
        """The run directory of a search, which is run unless that is done."""
        kind, changes = SEARCHES[method]
        folder = self.workspace.runs / f"{self.name}-{hyphenated(method)}-{detector}-seed{seed}"
        if kind is not None:
            source, stages = self.workspace.supernet(kind, detector, seed), TRAININGS
        else:  # the search does not depend on the detector
            source = folder if detector == "retinanet" else self.search(method, "retinanet", seed)
            stages = (SUPERNET_PRETRAIN, SEARCH)
        with self.workspace.lock(folder.name):
            changes = (*self.within, *supernet_changes(kind or "uniform"), *changes)
            recipe = self.workspace.recipe(detector, seed, changes)
            run(recipe, folder, self.workspace.data(), stages=())
            for stage in stages:
                self.workspace.take_stage(stage, source, folder)
            return run(recipe, folder, self.workspace.data(), progress=Progress(), stages=(*TRAININGS, SEARCH))

    def sampler(self) -> BudgetSampler:
        """Draws random networks within the budget."""
        recipe = self.workspace.recipe(changes=self.within)
        return BudgetSampler(recipe.search_space(), recipe.cost_budget())

    def draw(self, seed: int) -> list[Architecture]:
        """Random networks within the budget, as many as a network is trained times."""
        sampler = self.sampler()
        rng = np.random.default_rng(derive_seed(seed, CHANCE))
        found: list[Architecture] = []
        while len(found) < self.repeats and (architecture := sampler.sample(rng, frozenset(found))) is not None:
            found.append(architecture)
        return found

    def networks(self, method: str, detector: str, seed: int, runs: list[Run]) -> list[Row]:
        """What a method finds with a seed, trained in each of these runs; random networks in the first."""
        about: Row = {}
        if method == PLAIN:
            chosen = [self.workspace.recipe().search_space().uniform("shuffle3")] * self.repeats
        elif method == CHANCE:
            chosen, runs = self.draw(seed), runs[:1] * self.repeats
        else:
            folder = self.search(method, detector, seed)
            best = BEST.read(folder / SEARCH)
            chosen = [Architecture.parse(best.architecture)] * self.repeats
            seconds = {stage: seconds_of(folder / stage) for stage in (*TRAININGS, SEARCH)}
            done = {stage: took for stage, took in seconds.items() if (folder / stage).exists()}
            about = {"fitness": round(best.fitness, 5), "search seconds": done}
        return [
            {**self.workspace.train_standalone(run, one), "training seed": run.recipe.seed, **about}
            for run, one in zip(runs, chosen, strict=True)
        ]

    def result_file(self, detector: str, method: str, seed: int) -> Path:
        return self.workspace.runs / self.name / f"{detector}-{hyphenated(method)}-seed{seed}.json"

    def known(self, detector: str, method: str, seed: int) -> list[Row]:
        """The networks that a method has found with a seed, here or where the file was written; none if not done."""
        file = self.result_file(detector, method, seed)
        if file.exists():
            rows: list[Row] = read_json(file)
            return rows
        earlier = recorded(self.file, **self.measured)
        if not earlier or earlier["searches"].get(method) != searches(self.methods).get(method):
            return []
        rows = earlier["networks"].get(detector, {}).get(method, [])
        return [{key: row[key] for key in row if key != "seed"} for row in rows if row["seed"] == seed]

    def trainings(self, detector: str) -> list[Row]:
        """The recorded trainings. Raises `UserError` if there is no record."""
        if not self.file.exists():
            command = self.name.replace("_", "-")
            raise UserError(f"{self.file} is missing; write it by `python -m research {command}` first")
        return [row for rows in read_json(self.file)["networks"][detector].values() for row in rows]

    def mean_scores(self, detector: str) -> dict[str, float]:
        """The mean mAP of each recorded network, by architecture."""
        by_network: dict[str, list[float]] = {}
        for row in self.trainings(detector):
            by_network.setdefault(row["architecture"], []).append(row["mAP"])
        return {architecture: fmean(scores) for architecture, scores in by_network.items()}

    def measure(self, detector: str, seed: int) -> None:
        """Run all methods that are not done and on which no other process works."""
        left = [method for method in self.methods if not self.known(detector, method, seed)]
        if not left:
            return
        with ExitStack() as stack:
            seeds = [seed + SEED_STEP * i for i in range(self.repeats)]
            runs = [stack.enter_context(self.workspace.open_standalone(detector, one)) for one in seeds]
            for method in left:
                file = self.result_file(detector, method, seed)
                with try_lock_file(self.workspace.runs / f".{self.name}-{file.stem}.lock") as mine:
                    if mine and not self.known(detector, method, seed):
                        print(f"{method}, {detector}, seed {seed}", flush=True)
                        write_json(file, self.networks(method, detector, seed, runs))

    def summarize(self) -> None:
        """Write the file of results."""
        found: Row = {detector: {} for detector in self.seeds}
        for detector, seeds in self.seeds.items():
            for method in self.methods:
                if rows := [{"seed": seed, **row} for seed in seeds for row in self.known(detector, method, seed)]:
                    found[detector][method] = rows
        by_detector = {detector: estimates({detector: of}, self.methods) for detector, of in found.items()}
        if len(found) > 1:
            by_detector["both"] = estimates(found, self.methods)
        results = {
            **self.measured,
            "searches": searches(self.methods),
            "machine": machine(),
            "seeds": {detector: list(seeds) for detector, seeds in self.seeds.items()},
            "estimates": {of: estimate for of, estimate in by_detector.items() if estimate},
            "networks": found,
        }
        write_json(self.file, results)


def at_equal_macs(workspace: Workspace) -> Comparison:
    return Comparison(
        workspace,
        name="comparison",
        within=("budget.macs_min=36M", "budget.macs_max=38.2M", "search.evaluations=60"),
        # RetinaNet's first three seeds showed no difference.
        seeds=dict.fromkeys(BASES, (0, 1)) if workspace.tiny else {"retinanet": (0, 1, 2, 9), "fpn": (0, 1, 2)},
        methods=(DETNAS, PLAIN, CHANCE, RANDOM_SEARCH, SCRATCH, CLASSIFICATION),
    )


def in_the_wide_budget(workspace: Workspace) -> Comparison:
    return Comparison(
        workspace,
        name="wide_budget",
        within=("budget.macs_max=44M", "search.evaluations=60"),
        seeds={"retinanet": (0, 1) if workspace.tiny else (9, 10, 11)},
        methods=(DETNAS, CHANCE, PLAIN),
    )


def searches(methods: Collection[str]) -> dict[str, list[str | None]]:
    """How those of the methods that search do so: the supernet's kind, and changes to the recipe."""
    return {method: [kind, *changes] for method, (kind, changes) in SEARCHES.items() if method in methods}


def estimates(found: Row, methods: tuple[str, ...]) -> Row:
    """Each method's mean mAP, and by how much the first is above it, from the rows in `found[detector][method]`.

    A block is a seed with a detector; those that all methods share count. Empty if there is only one.
    """
    cells: dict[str, dict[tuple[str, int], list[float]]] = {method: {} for method in methods}
    for detector, by_method in found.items():
        for method, rows in by_method.items():
            for row in rows:
                cells[method].setdefault((detector, row["seed"]), []).append(row["mAP"])
    blocks = [block for block in cells[PLAIN] if all(block in of for of in cells.values())]
    if len(blocks) < 2:
        return {}
    analysis = Blocks(np.array([[fmean(of[block]) for block in blocks] for of in cells.values()]))
    about: Row = {}
    for place, (method, scores) in enumerate(zip(methods, analysis.scores.tolist(), strict=True)):
        mean = rounded(analysis.mean(place))
        about[method] = {"mAP": mean, "of each block": [round(value, 5) for value in scores]}
        if place:
            about[method][f"{methods[0]} less this"] = rounded(analysis.difference(0, place))
    one_network = [of[block] for method, of in cells.items() if method != CHANCE for block in blocks]
    return {
        "blocks": len(blocks),
        "residual standard deviation": round(analysis.residual, 5),
        "standard deviation between trainings": round(pooled_deviation(one_network), 5),
        "methods": about,
    }


def compare(comparison: Comparison, summary: bool) -> None:
    for detector, seeds in () if summary else comparison.seeds.items():
        for seed in seeds:
            comparison.measure(detector, seed)
    comparison.summarize()


def main(summary: Summary = False, tiny: Tiny = False) -> None:
    """Compare methods at equal MACs. Writes research/results/comparison.json."""
    compare(at_equal_macs(Workspace(tiny)), summary)


def wide_budget(summary: Summary = False, tiny: Tiny = False) -> None:
    """Compare methods within the recipe's budget. Writes research/results/wide_budget.json."""
    compare(in_the_wide_budget(Workspace(tiny)), summary)
