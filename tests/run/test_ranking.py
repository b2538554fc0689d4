"""`detnas rank`: what is trained, that it continues and is shared, and what it says."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_recipe import small_recipe

from detnas.config import load_recipe
from detnas.evaluation.metrics.correlation import kendall_tau
from detnas.run.evaluator import build_evaluator
from detnas.run.opening import open_run
from detnas.run.pipeline import run
from detnas.run.ranking import rank, spread
from detnas.rundir.directory import read_stored_run
from detnas.rundir.layout import network_lock
from detnas.spaces import Architecture, Budget, BudgetSampler, search_space
from detnas.utils.errors import UserError
from detnas.utils.files import try_lock_file
from detnas.utils.progress import Progress

QUIET = Progress(quiet=True)


def test_the_networks_lie_evenly_over_the_costs() -> None:
    space = search_space("tiny", 0.25)
    every = BudgetSampler(space, Budget())
    macs = sorted(every.cost(path).macs for path in spread(every, 200, seed=0))
    bound = float(macs[150])
    sampler = BudgetSampler(space, Budget(macs=(0, bound)))
    chosen = spread(sampler, 33, seed=1)
    assert len(set(chosen)) == 33 and all(map(sampler.allows, chosen))
    assert spread(sampler, 9, seed=1) == chosen[:9]
    assert spread(sampler, 9, seed=2) != chosen[:9]
    costs = np.sort([sampler.cost(path).macs for path in chosen])
    even = np.linspace(costs[0], costs[-1], 33)
    assert np.abs(costs - even).max() < 0.1 * (costs[-1] - costs[0])  # uniform draws crowd in the middle


def test_more_networks_than_there_are_are_refused() -> None:
    space = search_space("tiny", 0.25)
    cheapest, _ = space.cost_table(224).extent("macs")
    sampler = BudgetSampler(space, Budget(macs=(0, cheapest)))
    with pytest.raises(UserError, match="--n 50: only"):
        spread(sampler, 50, seed=0)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, blocks: Path) -> Path:
    """A run as far as the search."""
    folder = tmp_path_factory.mktemp("searched") / "run"
    recipe = small_recipe(pretraining__source="none")
    return run(recipe, folder, blocks, stages=("supernet-finetune", "search"))


def test_networks_are_trained_alone_and_compared_with_the_supernet(searched: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    shutil.copytree(searched, directory)
    lines = rank(directory, 3, QUIET)
    found = json.loads((directory / "rank" / "ranking.json").read_text())
    rows = found["networks"]
    assert len(rows) == 3 and found["metric"] == found["fitness"] == "mAP"
    recipe = load_recipe(directory / "recipe.yaml")
    data = Path(read_stored_run(directory).data_directory)
    with open_run(recipe, directory, data, QUIET) as current:
        evaluator = build_evaluator(current)
        for row in rows:
            architecture = Architecture.parse(row["architecture"])
            assert row["fitness"] == evaluator(architecture)["mAP"]
            assert row["macs"] == current.space.cost(architecture).macs
            folder = directory / "rank" / "finetune" / row["architecture"].replace(" ", "-")
            assert row["score"] == json.loads((folder / "evaluation.json").read_text())["scores"]["mAP"]
            assert json.loads((folder / "done.json").read_text())["steps"] == recipe.finetune.steps
    tau = found["quality"]["supernet"]["kendall_tau"]["value"]
    expected = kendall_tau(*(np.array([row[key] for row in rows]) for key in ("fitness", "score")))
    assert tau == pytest.approx(expected, nan_ok=True)
    assert any("Kendall's tau" in line for line in lines) and str(directory / "report.html") in lines[-1]
    assert re.search('id="plot-ranking"', (directory / "report.html").read_text())
    assert not (directory / "finetune").exists()  # the run's own stages are as they were

    # Again: nothing is trained again. More: the first ones stay. One is at work elsewhere: it is left to that.
    stamps = {path: path.stat().st_mtime_ns for path in (directory / "rank" / "finetune").rglob("*")}
    assert rank(directory, 3, QUIET) == lines
    with open_run(recipe, directory, data, QUIET, hold="shared") as current:
        fourth = spread(current.sampler, 4, current.seed("rank"))[3]
        with try_lock_file(network_lock(directory / "rank", fourth.hyphenated)):
            assert rank(directory, 4, QUIET) == ["3 of 4 are done; other processes are at work on the rest"]
    assert len(rank(directory, 4, QUIET)) == len(lines)
    rows_of_four = json.loads((directory / "rank" / "ranking.json").read_text())["networks"]
    assert rows_of_four[:3] == rows
    assert {path: path.stat().st_mtime_ns for path in stamps if path.is_file()} == {
        path: stamp for path, stamp in stamps.items() if path.is_file()
    }


def test_what_cannot_be_ranked_is_refused(searched: Path, blocks: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--n 2"):
        rank(searched, 2, QUIET)
    with pytest.raises(UserError, match="holds no run"):
        rank(tmp_path, 5, QUIET)
    begun = run(small_recipe(), tmp_path / "begun", blocks, stages=())
    with pytest.raises(UserError, match="not trained yet"):
        rank(begun, 5, QUIET)
    recipe = load_recipe(searched / "recipe.yaml")
    with open_run(recipe, searched, blocks, QUIET), pytest.raises(UserError, match="another process"):
        rank(searched, 3, QUIET)
