"""The finals: who takes part, what they train on, who wins; killed, shared, and told."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from finals_runs import CHANGES, found
from paths import ROOT
from run_results import snapshot
from shell import Shell
from small_recipe import small_recipe, training, write_recipe

import detnas.run.finals as finals
import detnas.run.pipeline as pipeline
import detnas.training.loop as loop
from detnas.config import load_recipe
from detnas.config.finals import FinalsSettings
from detnas.rundir.layout import FINALS_RESULT, INCUMBENT, FinalsResult
from detnas.spaces import Architecture
from detnas.utils.estimate import Estimate
from detnas.utils.files import read_json, read_json_lines
from detnas.utils.progress import Progress


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, blocks: Path) -> Path:
    """A run with finals; recipe.yaml beside it is what it was run with. Not to be changed."""
    folder = tmp_path_factory.mktemp("finals")
    recipe = write_recipe(folder / "recipe.yaml", **CHANGES)
    return pipeline.run(str(recipe), folder / "run", blocks)


def result(run: Path) -> FinalsResult:
    return FINALS_RESULT.read(run / "finals")


def test_the_best_candidates_and_incumbents_take_part_and_the_better_half_goes_on(finished: Path) -> None:
    rows = read_json_lines(finished / "search" / "candidates.jsonl")
    opening = [row["architecture"] for row in rows if row["origin"] == "incumbent"]
    assert [row["origin"] for row in rows[:3]] == ["incumbent"] * 3 == ["incumbent"] * len(opening)
    outcome = result(finished)
    assert outcome.steps == [4, 8] and outcome.images == 6 and outcome.metric == "mAP"
    fitness = {row["architecture"]: row["fitness"] for row in rows}
    by_fitness = sorted(fitness, key=lambda one: -fitness[one])
    incumbents = [one.architecture for one in outcome.finalists if one.is_incumbent]
    assert incumbents == [one for one in by_fitness if one in opening][:2]
    challengers = [one.architecture for one in outcome.finalists if not one.is_incumbent]
    assert len(challengers) == 4 and not set(challengers) & set(opening)
    everyone = [Architecture.parse(one.architecture).ops for one in outcome.finalists]
    for place, one in enumerate(everyone):
        assert all(sum(map(int.__ne__, one, other)) >= 2 for other in everyone[:place])
    assert all(one.fitness == fitness[one.architecture] for one in outcome.finalists)
    first = sorted(outcome.finalists, key=lambda one: -one.scores[0][0])
    last = [one for one in outcome.finalists if len(one.scores) == 2]
    assert len(last) == 3 and any(one.is_incumbent for one in last)
    best = next(one for one in first if one.is_incumbent)
    assert {one.architecture for one in last} <= {one.architecture for one in [*first[:3], best]}


def test_what_is_handed_over_and_the_incumbent_are_trained_on_all_images(finished: Path) -> None:
    outcome = result(finished)
    names = ["winner", "random"] if outcome.winner == outcome.incumbent else ["incumbent", "random", "winner"]
    assert sorted(folder.name for folder in (finished / "finetune").iterdir()) == sorted(names)
    for name in {"winner", "incumbent"} & set(names):
        evaluation = read_json(finished / "finetune" / name / "evaluation.json")
        assert evaluation["architecture"] == getattr(outcome, name) and evaluation["images"] == 8


def test_finalists_train_without_the_search_split_and_are_compared_on_it(
    finished: Path, blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    shutil.rmtree(copy / "finals")
    trained: list[set[str]] = []
    detection = finals.Run.detection

    def spied(self: Any, settings: Any, data: Any, detector: Any) -> Any:
        trained.append({file.name for file in data.files})
        return detection(self, settings, data, detector)

    monkeypatch.setattr(finals.Run, "detection", spied)
    pipeline.run(str(finished.parent / "recipe.yaml"), copy, blocks, stages=("finals",))
    split = {Path(row["file"]).name for row in read_json(copy / "splits.json")["search"]}
    assert len(trained) >= 6 + 3 and all(len(files) == 18 and not files & split for files in trained)
    ids = {row["id"] for row in read_json(copy / "splits.json")["search"]}
    for file in copy.glob("finals/rung*/finetune/*/detections.json"):
        assert {row["image_id"] for row in read_json(file)} <= ids
    assert found(copy) == found(finished)
    assert not list(copy.glob("finals/**/*.pt"))


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("after", [5, 33, 55])
def test_killed_anywhere_it_ends_in_the_same_bytes(
    after: int, finished: Path, blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, step, count = tmp_path / "run", loop.train_step, 0
    shutil.copytree(finished, copy)
    for folder in ("finals", "finetune"):
        shutil.rmtree(copy / folder)
    (copy / "detector.safetensors").unlink()

    def dying(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == after:
            raise Killed
        return step(*arguments)

    monkeypatch.setattr(loop, "train_step", dying)
    recipe = str(finished.parent / "recipe.yaml")
    with pytest.raises(Killed):
        pipeline.run(recipe, copy, blocks)
    pipeline.run(recipe, copy, blocks)
    assert found(copy) == found(finished)


def test_workers_that_join_find_the_same(finished: Path, blocks: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    shutil.rmtree(copy / "finals")
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "detnas", "join", str(copy)],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(3)
    ]
    said = [worker.communicate(timeout=300)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], said
    assert all("winner: " in one for one in said)
    assert found(copy) == found(finished)
    trained = [
        line for one in said for line in one.splitlines() if line.endswith("on the search split") and ", AP50" in line
    ]
    assert len(trained) >= 6 + 3


def test_nothing_is_done_again(finished: Path, blocks: Path) -> None:
    before = snapshot(finished / "finals")
    pipeline.run(str(finished.parent / "recipe.yaml"), finished, blocks)
    assert snapshot(finished / "finals") == before


@pytest.mark.parametrize(
    ("certainties", "wins", "trainings"),
    [([0.95], "challenger", 1), ([0.1], "incumbent", 1), ([0.7, 0.85], "challenger", 2), ([0.7, 0.75], "incumbent", 2)],
)
def test_a_challenger_wins_only_with_the_certainty_that_is_wanted(
    certainties: list[float],
    wins: str,
    trainings: int,
    finished: Path,
    blocks: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between it and its opposite both are trained a second time, with another seed."""
    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    (copy / "finals" / "best.json").unlink()
    shutil.rmtree(copy / "finals" / "rung2-again", ignore_errors=True)
    given = iter(certainties)

    def bootstrap(truth: Any, first: list[Any], second: list[Any], metric: str) -> tuple[Estimate, float]:
        certainty = next(given)
        assert len(first) == len(second) == 1 + certainties.index(certainty)
        return Estimate(0.1, 0.0, 0.2), certainty

    monkeypatch.setattr(finals, "paired_bootstrap", bootstrap)
    pipeline.run(str(finished.parent / "recipe.yaml"), copy, blocks, stages=("finals",))
    outcome = result(copy)
    assert outcome.winner == getattr(outcome, wins) and outcome.certainty == certainties[-1] and outcome.wanted == 0.8
    best = [one for one in outcome.finalists if one.architecture in (outcome.challenger, outcome.incumbent)]
    assert [len(one.scores[-1]) for one in best] == [trainings] * 2
    if trainings == 2:
        assert all(one.scores[-1][0] != one.scores[-1][1] for one in best if any(one.scores[-1]))


def test_status_and_page_say_what_was_found(finished: Path, blocks: Path, tmp_path: Path, shell: Shell) -> None:
    outcome = result(finished)
    said = shell("status", finished)
    assert "finals: done" in said and "6 networks were trained and compared on the 6 images of the search split" in said
    page = (finished / "report.html").read_text()
    assert '<h2 id="h-finals">Finals</h2>' in page and page.count("<small>incumbent</small>") == 2
    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    folder = copy / "finetune"
    if outcome.winner != outcome.incumbent:
        shutil.rmtree(folder / INCUMBENT)
    FINALS_RESULT.write(copy / "finals", outcome.model_copy(update={"winner": outcome.incumbent}))
    shutil.rmtree(folder / "winner")
    pipeline.run(str(finished.parent / "recipe.yaml"), copy, blocks, progress=Progress(quiet=True))
    assert "an incumbent: nothing better was found within this budget" in shell("status", copy)
    page = (copy / "report.html").read_text()
    assert "in every block was found within this budget, and that is what is handed over" in page
    assert "what one would take without a search" in page and not (folder / INCUMBENT).exists()


def test_without_finals_a_run_is_as_before(tmp_path: Path, blocks: Path) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", **{**CHANGES, "finals": False, "search__evaluations": 6})
    assert load_recipe(recipe).finals is None
    out = pipeline.run(str(recipe), tmp_path / "run", blocks)
    assert not (out / "finals").exists() and "h-finals" not in (out / "report.html").read_text()
    assert all(row["origin"] == "random" for row in read_json_lines(out / "search" / "candidates.jsonl"))
    assert (
        json.loads((out / "search" / "best.json").read_text())["architecture"]
        == read_json(out / "finetune/winner/evaluation.json")["architecture"]
    )


def test_a_pretraining_is_shared_by_the_rungs(tmp_path: Path, blocks: Path) -> None:
    changes = {
        **CHANGES,
        "pretraining__source": "crops",
        "finals": {"challengers": 1, "incumbents": 1, "rungs": [0.5, 1]},
    }
    recipe = small_recipe(**{**changes, "search__evaluations": 6, "supernet_pretrain": training(steps=4, batch_size=4)})
    out = pipeline.run(
        recipe, tmp_path / "run", blocks, stages=("supernet-pretrain", "supernet-finetune", "search", "finals")
    )
    pretrained = sorted(folder.name for folder in (out / "finals" / "pretrain").iterdir())
    assert pretrained == sorted(one.architecture.replace(" ", "-") for one in result(out).finalists)
    assert sorted(folder.name for folder in (out / "finals").iterdir() if folder.is_dir())[:3] == [
        "pretrain",
        "rung1",
        "rung2",
    ]


def test_the_work_is_known_beforehand() -> None:
    settings = FinalsSettings(challengers=6, incumbents=2, rungs=(0.25, 0.5, 1.0))
    assert settings.entrants() == [8, 4, 2] and settings.trainings() == 2 + 2 + 2
    assert FinalsSettings(challengers=4, incumbents=1, rungs=(1.0,)).trainings() == 5


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("{rungs: [0.5, 0.25]}", r"rungs \[0.5, 0.25\] must rise"),
        ("{rungs: []}", "finals.rungs"),
        ("{rungs: [2]}", "finals.rungs"),
        ("{challengers: 0}", "finals.challengers"),
        ("{certainty: 0.4}", "finals.certainty"),
        ("on", "finals takes neither yes nor no"),
    ],
)
def test_what_cannot_be_is_refused(values: str, said: str, tmp_path: Path, shell: Shell) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml")
    assert re.search(said, shell.refused("profile", recipe, "--set", f"finals={values}"))
