"""The check that ends a search: whether the best would be the best with other recalibration."""

import json
import shutil
from pathlib import Path

import pytest

from detnas.run.evaluator import build_evaluator
from detnas.run.opening import load_run, open_run
from detnas.run.pipeline import search_run
from detnas.search import recalibration_check
from detnas.search.evaluators.detection import DetectionEvaluator
from detnas.search.recalibration_check import NUM_CHECKED
from detnas.spaces import Architecture
from detnas.utils.files import try_lock
from detnas.utils.progress import Progress


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def found(run: Path) -> dict[str, object]:
    values: dict[str, object] = json.loads((run / "search" / "recalibration.json").read_text())
    return values


def test_the_best_are_evaluated_again_the_winner_first(finished: Path) -> None:
    rows = [json.loads(line) for line in (finished / "search/candidates.jsonl").read_text().splitlines()]
    fitness = {row["architecture"]: row["fitness"] for row in rows}
    check = found(finished)
    evaluated = check["candidates"]
    assert isinstance(evaluated, list) and len(evaluated) == NUM_CHECKED < len(rows)
    assert evaluated[0]["architecture"] == json.loads((finished / "search/best.json").read_text())["architecture"]
    assert [row["fitness"] for row in evaluated] == sorted(fitness.values(), reverse=True)[:NUM_CHECKED]
    assert (check["batches"], check["batch_size"], check["metric"]) == (2, 2, "mAP")
    recipe = load_run(finished)
    with open_run(recipe, finished, None, Progress(quiet=True), hold="not at all") as run:
        evaluator = build_evaluator(run)
        assert isinstance(evaluator, DetectionEvaluator)
        for row in evaluated:
            architecture = Architecture.parse(row["architecture"])
            first = [next(iter(evaluator.calibration))]
            assert evaluator.evaluate_with(architecture, first).scores["mAP"] == row["half"]
            assert evaluator.evaluate_with(architecture, None).scores["mAP"] == row["none"]


def test_a_finished_search_that_was_cut_before_it_gets_it(copied: Path) -> None:
    before = found(copied)
    (copied / "search/recalibration.json").unlink()
    search_run(copied, Progress(quiet=True))
    assert {**found(copied), "seconds": 0} == {**before, "seconds": 0}


def test_it_is_not_made_twice(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recalibration_check, "_evaluate_again", lambda *_: pytest.fail("evaluated again"))
    before = (copied / "search/recalibration.json").stat()
    search_run(copied, Progress(quiet=True))
    assert (copied / "search/recalibration.json").stat().st_mtime_ns == before.st_mtime_ns


def test_without_the_supernets_weights_a_finished_search_stays_as_it_is(copied: Path) -> None:
    (copied / "search/recalibration.json").unlink()
    for checkpoint in (copied / "supernet-finetune").glob("checkpoint-*"):
        checkpoint.unlink()
    search_run(copied, Progress(quiet=True))
    assert not (copied / "search/recalibration.json").exists()


def test_another_worker_that_is_at_it_is_not_waited_for(copied: Path) -> None:
    (copied / "search/recalibration.json").unlink()
    with (copied / "search/.checking").open("w") as held:
        assert try_lock(held)
        search_run(copied, Progress(quiet=True))
    assert not (copied / "search/recalibration.json").exists()
