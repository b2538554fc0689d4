"""`detnas retrain`: another architecture of a finished run, trained as its winner was."""

import json
import shutil
from pathlib import Path

import pytest
from shell import Shell
from small_recipe import small_recipe

from detnas.models.weights import load_detector
from detnas.run.pipeline import run
from detnas.run.retraining import spread_over_front
from detnas.rundir.directory import read_stored_run
from detnas.rundir.layout import CANDIDATES, FRONT
from detnas.spaces import Architecture


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, blocks: Path) -> Path:
    recipe = small_recipe(pretraining__source="none", baselines=["shuffle3"])
    return run(recipe, tmp_path_factory.mktemp("searched") / "run", blocks, stages=("supernet-finetune", "search"))


def test_another_candidate_gets_weights_scores_and_its_line_on_the_page(
    searched: Path,
    tmp_path: Path,
    shell: Shell,
) -> None:
    directory = tmp_path / "run"
    shutil.copytree(searched, directory)
    candidates = [json.loads(line) for line in (directory / "search" / "candidates.jsonl").read_text().splitlines()]
    best = json.loads((directory / "search" / "best.json").read_text())
    other = next(row["architecture"] for row in candidates if row["architecture"] != best["architecture"])
    said = shell("retrain", directory, other)
    folder = directory / "finetune" / other.replace(" ", "-")
    _, info = load_detector(folder / "detector.safetensors")
    assert info.architecture == Architecture.parse(other) and f"Weights: {folder / 'detector.safetensors'}" in said
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert evaluation["architecture"] == other and evaluation["scores"]["mAP"] is not None
    assert f">{folder.name}<" in (directory / "report.html").read_text()
    assert {path.name for path in (directory / "finetune").iterdir()} == {folder.name}

    # Again: nothing is trained. The run goes on as if nothing had been.
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    shell("retrain", directory, other)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    shell("run", directory / "recipe.yaml", "--out", directory, "--data", read_stored_run(directory).data_directory)
    _, winner = load_detector(directory / "detector.safetensors")
    assert winner.architecture == Architecture.parse(best["architecture"])
    _, baseline = load_detector(directory / "finetune" / "shuffle3" / "detector.safetensors")
    assert baseline.architecture is not None and set(baseline.architecture.ops) == {0}


@pytest.mark.parametrize(
    ("architecture", "remedy"),
    [
        ("01 23 0123", "blocks"),
        ("winner", "one digit 0-9 for each block"),
        ("00 00 0400 00", "not one of 0-3"),
        ("0000 00 00 00", "blocks"),
    ],
)
def test_what_is_no_architecture_of_the_space_is_refused(
    architecture: str,
    remedy: str,
    searched: Path,
    shell: Shell,
) -> None:
    before = sorted(path.name for path in searched.iterdir())
    assert remedy in shell.refused("retrain", searched, architecture)
    assert sorted(path.name for path in searched.iterdir()) == before


def test_a_folder_without_a_run_is_refused(tmp_path: Path, shell: Shell) -> None:
    assert "holds no run" in shell.refused("retrain", tmp_path, "00 00 0000 00")


@pytest.fixture(scope="module")
def with_front(tmp_path_factory: pytest.TempPathFactory, blocks: Path) -> Path:
    search = {"search__sampler": "nsga2", "search__second_objective": "macs", "search__evaluations": 12}
    recipe = small_recipe(pretraining__source="none", baselines=[], **search)
    folder = tmp_path_factory.mktemp("front") / "run"
    run(recipe, folder, blocks, stages=("supernet-finetune", "search"))
    # A front as a search may leave it: which architectures a short one finds is chance.
    rows = sorted(CANDIDATES.read(folder / "search"), key=lambda row: row.macs)
    FRONT.write(folder / "search", rows[::2])
    return folder


def test_architectures_of_the_front_are_spread_over_its_cost(with_front: Path) -> None:
    front = FRONT.read(with_front / "search")
    costs = {Architecture.parse(row.architecture): row.macs for row in front}
    assert spread_over_front(with_front, len(front)) == list(costs)
    for count in range(2, len(front)):
        chosen = spread_over_front(with_front, count)
        assert len(set(chosen)) == count
        assert (costs[chosen[0]], costs[chosen[-1]]) == (min(costs.values()), max(costs.values()))
        assert [costs[one] for one in chosen] == sorted(costs[one] for one in chosen)
    middle = (min(costs.values()) + max(costs.values())) / 2
    between = [cost for cost in costs.values() if min(costs.values()) < cost < max(costs.values())]
    assert costs[spread_over_front(with_front, 3)[1]] == min(between, key=lambda cost: abs(cost - middle))


def test_each_of_them_gets_its_weights(with_front: Path, tmp_path: Path, shell: Shell) -> None:
    directory = shutil.copytree(with_front, tmp_path / "run")
    shell("retrain", directory, "--front", "2")
    for architecture in spread_over_front(directory, 2):
        _, info = load_detector(directory / "finetune" / architecture.hyphenated / "detector.safetensors")
        assert info.architecture == architecture


def test_a_front_that_is_not_there_or_too_small_is_refused(with_front: Path, searched: Path, shell: Shell) -> None:
    assert "holds no front; search one by --set search.sampler=nsga2" in shell.refused(
        "retrain", searched, "--front", "3"
    )
    for count in ("1", "99", "-2"):
        assert f"--front {count}: the front has 6 architectures" in shell.refused(
            "retrain", with_front, "--front", count
        )
    for words in ((), ("00 00 0000 00", "--front", "2")):
        assert "give an ARCHITECTURE, or --front N" in shell.refused("retrain", with_front, *words)
