"""Is the search better than chance? python -m research samplers writes research/results/samplers.json.

Each sampler searches the space of `shapes-quick` with many seeds at equal evaluations, on fitness values that its
trained supernet gave once and research/results/samplers-fitness.json keeps: a minute on one core. A value that is missing
there is recorded, from the supernet in runs/search, which is trained if it is not there: for all of them some five
minutes on two cores for the training, and about half an hour on one for the candidates. Cut it at any time.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import accumulate
from operator import gt, lt
from pathlib import Path

import numpy as np
import optuna

from benchmarks.machine import machine
from detnas.config import Recipe, load_recipe
from detnas.evaluation.metrics.correlation import with_interval
from detnas.evaluation.metrics.pareto import pareto_front
from detnas.run.context import open_run
from detnas.run.evaluator import build_evaluator
from detnas.run.pipeline import run
from detnas.search.samplers.registry import SAMPLERS
from detnas.search.study.trials import distributions
from detnas.spaces import PAPER_OPS, Architecture, BudgetSampler
from detnas.utils.files import read_json, write_json
from detnas.utils.progress import Progress

RESULTS = Path(__file__).parent / "results"
TABLE = RESULTS / "search-fitness.json"
RUN = Path("runs") / "search"
RECIPE = "shapes-quick"
CHANGES = ("search.images=100", "search.recalibration_batches=10")
"""Half the work a candidate."""
EVALUATIONS = 50
SEEDS = 20
COUNTS = (10, 20, 30, 40, 50)
NAMES = ("evolution", "random", "nsga2", "tpe")

SAVED_EVERY = 50


class Table:
    """Fitness by architecture, as recorded; what is missing is judged by the supernet and kept."""

    def __init__(self, recipe: Recipe, stack: ExitStack) -> None:
        self.recipe = recipe
        self.stack = stack
        self.known: dict[str, float] = read_json(TABLE) if TABLE.exists() else {}
        self._judge: Callable[[Architecture], float] | None = None

    def __call__(self, architecture: Architecture) -> float:
        digits = _digits(architecture)
        if digits not in self.known:
            self.known[digits] = self._supernet()(architecture)
            if len(self.known) % SAVED_EVERY == 0:
                self.save()
        return self.known[digits]

    def save(self) -> None:
        write_json(TABLE, self.known)

    def _supernet(self) -> Callable[[Architecture], float]:
        if self._judge is None:
            print(f"{len(self.known)} values are known; the others are recorded from {RUN}", flush=True)
            run(self.recipe, RUN, progress=Progress(), stages=("supernet-pretrain", "supernet-finetune"))
            scores = build_evaluator(self.stack.enter_context(open_run(self.recipe, RUN, None, Progress())))

            def judge(architecture: Architecture) -> float:
                found = scores(architecture)
                assert found is not None
                fitness = found[self.recipe.search.score_name]
                assert fitness is not None
                return round(fitness, 6)

            space = self.recipe.search_space()
            for digits, fitness in list(self.known.items())[:1]:
                if judge(space.architecture([*map(int, digits)])) != fitness:
                    raise SystemExit(f"{TABLE}: recorded from another supernet than {RUN}; move it away")
            self._judge = judge
        return self._judge


def _digits(architecture: Architecture) -> str:
    return str(architecture).replace(" ", "")


def searched(name: str, recipe: Recipe, sampler: BudgetSampler, seed: int, fitness: Table) -> np.ndarray:
    """Fitness and MACs of the candidates in the order of their evaluation, (EVALUATIONS, 2)."""
    changes = {"sampler": name, "evaluations": EVALUATIONS, "second_objective": "macs" if name == "nsga2" else None}
    settings = recipe.search.model_copy(update=changes)
    study = optuna.create_study(
        sampler=SAMPLERS[name](sampler, settings, seed),
        directions=["maximize", "minimize"] if settings.second_objective else ["maximize"],
    )
    blocks = distributions(sampler.space)
    found = []

    def objective(trial: optuna.Trial) -> tuple[float, ...]:
        ops = [PAPER_OPS.index(trial.suggest_categorical(name, PAPER_OPS)) for name in blocks]
        values = (fitness(sampler.space.architecture(ops)), sampler.table.cost(ops).macs)
        found.append(values)
        return values if settings.second_objective else values[:1]

    study.optimize(objective, n_trials=EVALUATIONS)
    return np.array(found)


def hypervolume(candidates: np.ndarray, costliest: float) -> float:
    """The area between the front and the corner of no fitness at the `costliest` cost, in fitness times 1M MACs."""
    fitness, macs = candidates.T
    front = pareto_front(macs.tolist(), fitness.tolist())
    gains = np.diff(fitness[front], prepend=0.0)
    return float((gains * (costliest - macs[front])).sum() / 1e6)


def estimate(values: Sequence[float], others: Sequence[float] | None = None) -> dict[str, float]:
    """The mean over the seeds, or that of the differences of pairs, with its 95 % interval by bootstrap."""
    first = np.array(values)
    second = np.zeros(len(first)) if others is None else np.array(others)
    found = with_interval(lambda one, other: float((one - other).mean()), first, second)
    return {name: round(value, 5) for name, value in vars(found).items()}


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    recipe = load_recipe(RECIPE, CHANGES)
    sampler = BudgetSampler(recipe.search_space(), recipe.cost_budget())
    costliest = sampler.budget.macs[1]
    best: dict[str, list[list[float]]] = {}
    areas: dict[str, list[float]] = {}
    with ExitStack() as stack:
        table = Table(recipe, stack)
        try:
            for name in NAMES:
                found = [searched(name, recipe, sampler, seed, table) for seed in range(SEEDS)]
                best[name] = [list(accumulate(candidates[:, 0], max)) for candidates in found]
                areas[name] = [hypervolume(candidates, costliest) for candidates in found]
        finally:
            table.save()
    chance = [curve[-1] for curve in best["random"]]
    results = {}
    for name, curves in best.items():
        last = [curve[-1] for curve in curves]
        results[name] = {
            "best fitness after": {str(count): estimate([curve[count - 1] for curve in curves]) for count in COUNTS},
            "area under the front": estimate(areas[name]),
        }
        if name != "random":
            results[name] |= {
                "best fitness less that of random": estimate(last, chance),
                "seeds with a better one than random": int(sum(map(gt, last, chance))),
                "seeds with a worse one than random": int(sum(map(lt, last, chance))),
                "area less that of random": estimate(areas[name], areas["random"]),
            }
    write_json(
        RESULTS / "search.json",
        {
            "recipe": " --set ".join((RECIPE, *CHANGES)),
            "machine": machine(),
            "seeds": SEEDS,
            "evaluations": EVALUATIONS,
            "fitness values": {"recorded": len(table.known), "best": max(table.known.values())},
            "intervals": "95 %, percentile bootstrap over the seeds; a seed's first generation is the same for all",
            "samplers": results,
        },
    )


if __name__ == "__main__":
    main()
