"""The commands on runs: run, search, status, report."""

import json
import shutil
from pathlib import Path

import pytest
from shell import Shell
from small_recipe import write_recipe

from detnas.config import load_recipe
from detnas.run.pipeline import run
from detnas.rundir.directory import claim


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A finished run that a test may change."""
    shutil.copytree(finished, tmp_path / "copied")
    return tmp_path / "copied"


def test_run_does_everything_and_says_where_it_stands(blocks: Path, tmp_path: Path, shell: Shell) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", pretraining__source="none")
    words = ["--set", "search.evaluations=2", "--set", "finetune.steps=10", "--set", "baselines=[]"]
    said = shell("run", recipe, "--out", tmp_path / "run", "--data", blocks, *words)
    for place, stage in enumerate(
        ("supernet-pretrain", "supernet-finetune", "search", "finals", "pretrain", "finetune"), start=1
    ):
        assert f"[{place}/7] {stage}" in said
    assert f"Report: {tmp_path / 'run' / 'report.html'}" in said and "winner: mAP" in said
    assert [path.name for path in (tmp_path / "run/finetune").iterdir()] == ["winner"]
    assert load_recipe(tmp_path / "run/recipe.yaml").search.evaluations == 2


def test_run_goes_to_runs_and_the_recipes_name(
    blocks: Path, tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", name="mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("detnas.run.pipeline.STAGES", {})
    shell("run", recipe, "--data", blocks)
    assert (tmp_path / "runs" / "mine" / "recipe.yaml").exists()


def test_search_continues_a_search(copied: Path, shell: Shell) -> None:
    before = (copied / "search/candidates.jsonl").read_text()
    for name in ("done.json", "best.json", "candidates.jsonl"):
        (copied / "search" / name).unlink()
    others = {path: path.stat().st_mtime_ns for path in copied.glob("*/*/checkpoint-*.pt")}
    assert "winner: " in shell("search", copied)
    assert (copied / "search/candidates.jsonl").read_text() == before
    assert (copied / "search/done.json").exists() and (copied / "search/best.json").exists()
    assert {path: path.stat().st_mtime_ns for path in copied.glob("*/*/checkpoint-*.pt")} == others


def test_search_needs_a_trained_supernet(blocks: Path, tmp_path: Path, shell: Shell) -> None:
    run(str(write_recipe(tmp_path / "recipe.yaml")), tmp_path / "run", blocks, stages=())
    assert "not trained" in shell.refused("search", tmp_path / "run")
    assert not (tmp_path / "run/search").exists()


def test_joining_needs_a_trained_supernet(blocks: Path, tmp_path: Path, shell: Shell) -> None:
    run(str(write_recipe(tmp_path / "recipe.yaml")), tmp_path / "run", blocks, stages=())
    assert "not trained" in shell.refused("search", tmp_path / "run", "--join")
    assert not (tmp_path / "run/search").exists()


def test_join_works_beside_who_holds_the_run_and_where_all_is_done(copied: Path, shell: Shell) -> None:
    before = (copied / "search/candidates.jsonl").read_text()
    (copied / "search/done.json").unlink()
    with claim(copied):
        assert f"detnas search {copied} --join" in shell.refused("search", copied)
        assert "winner: " in shell("search", copied, "--join")
        assert "winner: " in shell("search", copied, "--join")
    assert (copied / "search/candidates.jsonl").read_text() == before and (copied / "search/done.json").exists()


def test_a_storage_that_cannot_be_reached_is_refused_before_any_work(
    blocks: Path, tmp_path: Path, shell: Shell
) -> None:
    words = ["run", write_recipe(tmp_path / "recipe.yaml"), "--out", tmp_path / "run", "--data", blocks]
    url = "postgresql+psycopg://me@127.0.0.1:1/studies"
    said = shell.refused(*words, "--set", f"search.storage={url}")
    assert url in said and "refused" in said and not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["search", "status", "report"])
def test_a_folder_without_a_run_is_refused(command: str, tmp_path: Path, shell: Shell) -> None:
    for directory in (tmp_path, tmp_path / "missing"):
        assert "no run" in shell.refused(command, directory)
    assert list(tmp_path.iterdir()) == []


def test_status_of_a_finished_run(finished: Path, shell: Shell) -> None:
    said = shell("status", finished)
    for network in ("winner", "shuffle3", "random"):
        scores = json.loads((finished / "finetune" / network / "evaluation.json").read_text())["scores"]
        assert f"finetune/{network}: done" in said and f"pretrain/{network}: done" in said
        assert f"mAP {scores['mAP']:.3f}, AP50 {scores['AP50']:.3f} on the validation set" in said
    assert "supernet-pretrain: done" in said and "search: done, 6 of 6 candidates" in said
    assert f"report: {finished / 'report.html'}" in said


def test_status_of_a_run_under_way(copied: Path, shell: Shell) -> None:
    (copied / "report.html").unlink()
    shutil.rmtree(copied / "finetune/shuffle3")
    (copied / "finetune/random/done.json").unlink()
    (copied / "finetune/random/evaluation.json").unlink()
    (copied / "search/done.json").unlink()
    said = shell("status", copied).splitlines()
    assert "finetune/shuffle3: not started" in said and "report: not written yet" in said
    assert any(line.startswith("finetune/random: 10 of 10 steps saved, loss ") for line in said)
    assert any(line.startswith("search: in progress, 6 of 6 candidates") for line in said)


def test_status_names_candidates_that_failed(copied: Path, shell: Shell) -> None:
    row = {"number": 3, "generation": 1, "origin": "mutation", "architecture": "00 00 0000 00", "error": "no luck"}
    (copied / "search/failed.jsonl").write_text(json.dumps(row) + "\n")
    assert "6 of 6 candidates, 1 more failed (search/failed.jsonl), best" in shell("status", copied)
    shell("report", copied)
    assert "1 more could not be evaluated" in (copied / "report.html").read_text()


def test_status_of_a_run_just_begun(blocks: Path, tmp_path: Path, shell: Shell) -> None:
    run(str(write_recipe(tmp_path / "recipe.yaml")), tmp_path / "run", blocks, stages=())
    said = shell("status", tmp_path / "run").splitlines()
    assert said[0].endswith("recipe small") and "search: not started" in said
    assert sum(line.endswith("not started") for line in said) == 9  # two supernets, the search, three networks twice


def test_report_is_written_again(copied: Path, shell: Shell) -> None:
    page = (copied / "report.html").read_text()
    (copied / "report.html").unlink()
    assert str(copied / "report.html") in shell("report", copied)
    again = (copied / "report.html").read_text()
    assert len(again) == pytest.approx(len(page), rel=0.01)
    winner = json.loads((copied / "search/best.json").read_text())["architecture"]
    assert winner in again and again.count("data:image") >= 1


def test_report_of_a_run_under_way(copied: Path, shell: Shell) -> None:
    shutil.rmtree(copied / "finetune")
    (copied / "search/done.json").unlink()
    shell("report", copied)
    assert "small" in (copied / "report.html").read_text()
