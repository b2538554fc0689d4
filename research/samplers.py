"""Whether samplers find better candidates than random search does.

Each sampler searches the space of `shapes-quick` with many seeds at equal evaluations, on fitness values that its
trained supernet gave once and research/results/samplers-fitness.json keeps: a minute on one core. A value that is
missing there is evaluated with the supernet in runs/search, which is trained unless that is done: for all of them some
five minutes on two cores for the training, and about half an hour on one for the candidates. It can be stopped at any
time.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import accumulate
from operator import gt, lt
from pathlib import Path

import numpy as np
import optuna

from benchmarks.command import machine
from detnas.config import Recipe, load_recipe
from detnas.evaluation.metrics.correlation import with_interval
from detnas.evaluation.metrics.pareto import pareto_front
from detnas.run.evaluator import build_evaluator
from detnas.run.opening import open_run
from detnas.run.pipeline import run
from detnas.search.samplers import SAMPLERS
from detnas.search.samplers.base import EvaluationRecord
from detnas.spaces import Architecture, BudgetSampler
from detnas.utils.files import read_json, write_json
from detnas.utils.progress import Progress
from research.statistics import Floats, rounded
from research.workspace import RESULTS, TRAININGS, Row, Tiny

TABLE = RESULTS / "samplers-fitness.json"
RUN = Path("runs") / "search"
RECIPE = "shapes-quick"
CHANGES = ("search.images=100", "search.recalibration_batches=10")  # half the work a candidate


class FitnessTable:
    """Fitness by architecture, as recorded; missing values are evaluated with the supernet and kept."""

    def __init__(self, recipe: Recipe, stack: ExitStack) -> None:
        self.recipe = recipe
        self.stack = stack
        self.known: dict[str, float] = read_json(TABLE) if TABLE.exists() else {}
        self.recorded = len(self.known)
        self._evaluate: Callable[[Architecture], float] | None = None

    def __call__(self, architecture: Architecture) -> float:
        digits = str(architecture).replace(" ", "")
        if digits not in self.known:
            self._evaluate = self._evaluate or self._load_supernet()
            self.known[digits] = self._evaluate(architecture)
            if len(self.known) % 50 == 0:
                self.save()
        return self.known[digits]

    def save(self) -> None:
        if len(self.known) > self.recorded:
            write_json(TABLE, self.known)

    def _load_supernet(self) -> Callable[[Architecture], float]:
        print(f"{len(self.known)} values are known; the others are evaluated with {RUN}", flush=True)
        run(self.recipe, RUN, progress=Progress(), stages=TRAININGS)
        evaluator = build_evaluator(self.stack.enter_context(open_run(self.recipe, RUN, None, Progress())))

        def evaluate(architecture: Architecture) -> float:
            fitness = evaluator(architecture)[self.recipe.search.score_name]
            assert fitness is not None
            return round(fitness, 6)

        space = self.recipe.search_space()
        for digits, fitness in list(self.known.items())[:1]:
            if evaluate(space.architecture([*map(int, digits)])) != fitness:
                raise SystemExit(f"{TABLE}: recorded from another supernet than {RUN}; move it away")
        return evaluate


def search(
    name: str, recipe: Recipe, budget_sampler: BudgetSampler, seed: int, fitness: FitnessTable, count: int
) -> Floats:
    """Fitness and MACs of `count` candidates in the order of their evaluation, (count, 2)."""
    second = "macs" if SAMPLERS[name].takes_second_objective else None
    settings = recipe.search.model_copy(update={"sampler": name, "evaluations": count, "second_objective": second})
    sampler = SAMPLERS[name](budget_sampler, settings, seed)
    history: list[EvaluationRecord] = []
    found: list[tuple[float, ...]] = []
    for index in range(count):
        architecture = sampler.propose(history, index).architecture
        values = (fitness(architecture), float(budget_sampler.cost(architecture).macs))
        found.append(values)
        history.append(EvaluationRecord(index, architecture, "finished", values if second else values[:1]))
    return np.array(found)


def hypervolume(candidates: Floats, most_macs: float) -> float:
    """The area between the front and the corner of no fitness at `most_macs`, in fitness times 1M MACs."""
    fitness, macs = candidates.T
    front = pareto_front(macs.tolist(), fitness.tolist())
    gains = np.diff(fitness[front], prepend=0.0)
    return float((gains * (most_macs - macs[front])).sum() / 1e6)


def estimate(values: Sequence[float], others: Sequence[float] | None = None) -> dict[str, float]:
    """The mean over the seeds, or that of the differences of pairs, with its interval by bootstrap over the seeds."""
    first = np.array(values)
    second = np.zeros(len(first)) if others is None else np.array(others)
    return rounded(with_interval(lambda one, other: float((one - other).mean()), first, second))


def summarize(best: dict[str, list[list[float]]], areas: dict[str, list[float]], counts: Sequence[int]) -> Row:
    """The figures of each sampler, from the best fitness so far and the area under the front of each seed."""
    chance = [curve[-1] for curve in best["random"]]
    results: Row = {}
    for name, curves in best.items():
        last = [curve[-1] for curve in curves]
        results[name] = {
            "best fitness after": {str(count): estimate([curve[count - 1] for curve in curves]) for count in counts},
            "area under the front": estimate(areas[name]),
        }
        if name != "random":
            results[name] |= {
                "best fitness less that of random": estimate(last, chance),
                "seeds with a better one than random": int(sum(map(gt, last, chance))),
                "seeds with a worse one than random": int(sum(map(lt, last, chance))),
                "area less that of random": estimate(areas[name], areas["random"]),
            }
    return results


def main(tiny: Tiny = False) -> None:
    """Compare samplers with random search. Writes research/results/samplers.json; a quick trial prints its results."""
    seeds, counts = (2 if tiny else 20), (10, 20, 30, 40, 50)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    recipe = load_recipe(RECIPE, CHANGES)
    sampler = BudgetSampler(recipe.search_space(), recipe.cost_budget())
    most_macs = sampler.budget.macs[1]
    assert most_macs is not None
    best: dict[str, list[list[float]]] = {}
    areas: dict[str, list[float]] = {}
    with ExitStack() as stack:
        table = FitnessTable(recipe, stack)
        try:
            for name in ("evolution", "random", "nsga2", "tpe"):
                found = [search(name, recipe, sampler, seed, table, counts[-1]) for seed in range(seeds)]
                best[name] = [list(accumulate(candidates[:, 0].tolist(), max)) for candidates in found]
                areas[name] = [hypervolume(candidates, most_macs) for candidates in found]
        finally:
            table.save()
    results = {
        "recipe": " --set ".join((RECIPE, *CHANGES)),
        "machine": machine(),
        "seeds": seeds,
        "evaluations": counts[-1],
        "fitness values": {"recorded": len(table.known), "best": max(table.known.values())},
        "intervals": "95 %, percentile bootstrap over the seeds; a seed's first generation is the same for all",
        "samplers": summarize(best, areas, counts),
    }
    if tiny:
        print(results)
    else:
        write_json(RESULTS / "samplers.json", results)
