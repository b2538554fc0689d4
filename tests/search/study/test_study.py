"""The search in a run directory: cut anywhere, it ends in the same candidates."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from latency_tables import synthetic
from paths import TESTS

from detnas.config import SearchSettings
from detnas.search.study.study import search
from detnas.spaces import PAPER_OPS, Architecture, Budget, BudgetSampler, SearchSpace
from detnas.utils.progress import Progress, ProgressBar

SPACE = SearchSpace("toy", 4, (8, 16, 24, 32), (2, 1, 2, 1))
SAMPLER = BudgetSampler(SPACE, Budget())
SETTINGS = SearchSettings(evaluations=12, population=4, num_parents=3, num_mutations=2, num_crossovers=1)
GAINS = np.random.default_rng(0).random((6, len(PAPER_OPS)))


class Cut(BaseException):
    """Where a test kills a search; no error of a candidate."""


class CountingEvaluator:
    """A fitness without a detector; may be cut in an evaluation (counted from 0)."""

    def __init__(self, cut_at: int | None = None) -> None:
        self.cut_at = cut_at
        self.evaluated: list[Architecture] = []

    def __call__(self, architecture: Architecture) -> dict[str, float | None]:
        if len(self.evaluated) == self.cut_at:
            raise Cut
        self.evaluated.append(architecture)
        fitness = float(GAINS[range(6), list(architecture.ops)].mean())
        return {"mAP": fitness, "AP50": fitness / 2}


class CutBetween(Progress):
    """Cuts a search when so many candidates have been told to the study."""

    def __init__(self, cut_at: int) -> None:
        super().__init__(quiet=True)
        self.cut_at = cut_at

    @contextmanager
    def task(self, name: str, total: int, start: int = 0) -> Iterator[ProgressBar]:
        outer = self

        class Cutter(ProgressBar):
            def advance(self, note: str = "", by: int = 1) -> None:
                super().advance(note, by)
                if self.done == outer.cut_at:
                    raise Cut

        yield Cutter(self, name, total, start)


def run_search(
    directory: Path, evaluator: CountingEvaluator | None = None, progress: Progress | None = None, **changes: Any
) -> CountingEvaluator:
    evaluator = evaluator or CountingEvaluator()
    settings = SETTINGS.model_copy(update=changes.pop("settings", {}))
    sampler = changes.pop("sampler", SAMPLER)
    search(
        evaluator, sampler, settings, directory, seed=changes.get("seed", 7), progress=progress or Progress(quiet=True)
    )
    return evaluator


def rows(directory: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (directory / "candidates.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def best(directory: Path) -> dict[str, Any]:
    found = json.loads((directory / "best.json").read_text())
    return {key: value for key, value in found.items() if key != "seconds"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("whole")
    run_search(directory)
    return directory


def test_what_a_search_leaves(whole: Path) -> None:
    found = rows(whole)
    assert [row["number"] for row in found] == list(range(12))
    assert [row["generation"] for row in found] == [0] * 4 + [1] * 4 + [2] * 4
    assert [row["origin"] for row in found][4:] == ["mutation", "mutation", "crossover", "random"] * 2
    for row in found:
        architecture = Architecture.parse(row["architecture"])
        cost = SPACE.cost(architecture)
        assert (row["macs"], row["params"]) == (cost.macs, cost.params)
        assert row["fitness"] == pytest.approx(GAINS[range(6), list(architecture.ops)].mean())
        assert row["metric"] == "mAP" and row["AP50"] == row["fitness"] / 2
    assert best(whole) == max(found, key=lambda row: row["fitness"])
    done = json.loads((whole / "done.json").read_text())
    assert done["evaluations"] == 12 and done["seconds"] >= 0
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{whole / 'study.db'}")
    assert study.best_value == best(whole)["fitness"] and len(study.trials) == 12


@pytest.mark.parametrize("cut_at", range(12))
def test_a_search_cut_while_a_candidate_is_evaluated_ends_the_same(cut_at: int, whole: Path, tmp_path: Path) -> None:
    first = CountingEvaluator(cut_at)
    with pytest.raises(Cut):
        run_search(tmp_path, first)
    assert not (tmp_path / "done.json").exists()
    second = run_search(tmp_path)
    assert rows(tmp_path) == rows(whole) and best(tmp_path) == best(whole)
    assert len(first.evaluated) == cut_at and len(second.evaluated) == 12 - cut_at  # nothing is evaluated again


@pytest.mark.parametrize("cut_at", [1, 4, 7, 8, 11, 12])
def test_a_search_cut_between_two_candidates_ends_the_same(cut_at: int, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(Cut):
        run_search(tmp_path, progress=CutBetween(cut_at))
    second = run_search(tmp_path)
    assert rows(tmp_path) == rows(whole) and best(tmp_path) == best(whole)
    assert len(second.evaluated) == 12 - cut_at


def test_a_search_cut_again_and_again_ends_the_same(whole: Path, tmp_path: Path) -> None:
    for cut_at in (0, 0, 4, 0, 3, 1, 0):
        with pytest.raises(Cut):
            run_search(tmp_path, CountingEvaluator(cut_at))
    run_search(tmp_path)
    assert rows(tmp_path) == rows(whole) and best(tmp_path) == best(whole)


@pytest.mark.slow
def test_a_trial_that_another_process_left_running_is_evaluated_again(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(Cut):
        run_search(tmp_path, progress=CutBetween(4))
    script = (
        "import os, sys, pathlib\n"
        f"sys.path[:0] = {[str(folder) for folder in (Path(__file__).parent, TESTS)]}\n"
        "from test_study import *\n"
        "class Killed(CountingEvaluator):\n"
        "    def __call__(self, architecture):\n"
        "        os.kill(os.getpid(), 9)\n"
        f"run_search(pathlib.Path({str(tmp_path)!r}), Killed())\n"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    assert subprocess.run([sys.executable, "-c", script], env=environment).returncode == -9
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 4 + ["RUNNING"]
    run_search(tmp_path)
    assert rows(tmp_path) == rows(whole) and best(tmp_path) == best(whole)


def test_a_trial_that_was_asked_and_has_no_index_yet_is_given_up(whole: Path, tmp_path: Path) -> None:
    study = optuna.create_study(
        study_name="search",
        storage=f"sqlite:///{tmp_path / 'study.db'}",
        direction="maximize",
    )
    study._storage.create_new_trial(study._study_id)
    run_search(tmp_path)
    assert rows(tmp_path) == rows(whole)


def test_a_finished_search_evaluates_nothing(whole: Path, tmp_path: Path) -> None:
    run_search(tmp_path)
    assert run_search(tmp_path).evaluated == []
    assert rows(tmp_path) == rows(whole)


def test_a_search_goes_on_when_more_evaluations_are_asked_for(whole: Path, tmp_path: Path) -> None:
    run_search(tmp_path, settings={"evaluations": 6})
    assert rows(tmp_path) == rows(whole)[:6]
    assert len(run_search(tmp_path).evaluated) == 6
    assert rows(tmp_path) == rows(whole)


def test_another_seed_is_another_search(whole: Path, tmp_path: Path) -> None:
    run_search(tmp_path, seed=8)
    assert {row["architecture"] for row in rows(tmp_path)[:4]} != {row["architecture"] for row in rows(whole)[:4]}


def test_the_search_ends_with_the_space_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    costs = sorted(
        SPACE.cost(SPACE.architecture([int(d) for d in np.base_repr(n, 4).zfill(6)])).macs for n in range(4096)
    )
    sampler = BudgetSampler(SPACE, Budget(macs=(0, costs[6])))
    count = sum(cost <= costs[6] for cost in costs)
    evaluator = run_search(tmp_path, sampler=sampler, progress=Progress(), settings={"evaluations": 50})
    assert len(evaluator.evaluated) == len(set(evaluator.evaluated)) == len(rows(tmp_path)) == count >= 7
    assert f"all {count} architectures within the budget" in capsys.readouterr().out
    assert json.loads((tmp_path / "done.json").read_text())["evaluations"] == count
    again = run_search(tmp_path, sampler=sampler, settings={"evaluations": 50})
    assert again.evaluated == [] and len(rows(tmp_path)) == count


def test_of_equals_the_cheaper_one_wins(tmp_path: Path) -> None:
    class Equal(CountingEvaluator):
        def __call__(self, architecture: Architecture) -> dict[str, float | None]:
            return {"mAP": 0.5, "AP50": 0.7}

    run_search(tmp_path, Equal())
    assert best(tmp_path)["macs"] == min(row["macs"] for row in rows(tmp_path))


def test_a_search_is_guided_by_the_score_that_the_recipe_names(tmp_path: Path) -> None:
    class Scores(CountingEvaluator):
        def __call__(self, architecture: Architecture) -> dict[str, float | None]:
            other = float(GAINS[range(6), list(architecture.ops)].min())
            return super().__call__(architecture) | {"VOC07": other}

    for metric in ("AP50", "VOC07"):
        evaluator = run_search(tmp_path / metric, Scores(), settings={"metric": metric, "evaluations": 5})
        expected = [Scores()(architecture)[metric] for architecture in evaluator.evaluated]
        assert [row["fitness"] for row in rows(tmp_path / metric)] == expected
        assert best(tmp_path / metric)["fitness"] == max(expected) and best(tmp_path / metric)["metric"] == metric


def test_a_search_by_accuracy_is_guided_by_it_and_says_so(tmp_path: Path) -> None:
    class Classifies(CountingEvaluator):
        def __call__(self, architecture: Architecture) -> dict[str, float | None]:
            return {"accuracy": super().__call__(architecture)["mAP"]}

    run_search(tmp_path / "by accuracy", Classifies(), settings={"fitness": "classification"})
    run_search(tmp_path / "by mAP")
    found, others = rows(tmp_path / "by accuracy"), rows(tmp_path / "by mAP")
    assert {row["metric"] for row in found} == {best(tmp_path / "by accuracy")["metric"]} == {"accuracy"}
    assert [(row["architecture"], row["fitness"]) for row in found] == [
        (row["architecture"], row["fitness"]) for row in others
    ]


# Other samplers


NSGA2 = {"sampler": "nsga2", "second_objective": "params"}


def cost_key(cost: str) -> str:
    return "latency_ms" if cost == "latency" else cost


def front(directory: Path) -> list[dict[str, Any]]:
    found = json.loads((directory / "front.json").read_text())
    return [{key: value for key, value in row.items() if key != "seconds"} for row in found]


@pytest.mark.parametrize("cost", ["macs", "params", "latency"])
def test_two_objectives_leave_their_front(cost: str, tmp_path: Path) -> None:
    sampler = BudgetSampler(SPACE, Budget(latencies=synthetic(SPACE)))
    run_search(tmp_path, sampler=sampler, settings={"sampler": "nsga2", "second_objective": cost, "evaluations": 20})
    found, key = rows(tmp_path), cost_key(cost)
    members = front(tmp_path)
    assert [row[key] for row in members] == sorted(row[key] for row in members)
    for row in found:
        beaten = any(other[key] <= row[key] and other["fitness"] > row["fitness"] for other in found) or any(
            other[key] < row[key] and other["fitness"] >= row["fitness"] for other in found
        )
        assert (row in members) != beaten
    assert best(tmp_path) == members[-1] == max(found, key=lambda row: row["fitness"])
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert {trial.values[0] for trial in study.best_trials} == {row["fitness"] for row in members}


def test_one_objective_leaves_no_front(whole: Path) -> None:
    assert not (whole / "front.json").exists()


def test_of_equals_the_one_of_lower_cost_wins(tmp_path: Path) -> None:
    class Equal(CountingEvaluator):
        def __call__(self, architecture: Architecture) -> dict[str, float | None]:
            return {"mAP": 0.5, "AP50": 0.7}

    run_search(tmp_path, Equal(), settings=NSGA2)
    assert [best(tmp_path)] == front(tmp_path)
    assert best(tmp_path)["params"] == min(row["params"] for row in rows(tmp_path))
