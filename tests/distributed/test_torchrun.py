"""Runs that torchrun starts end as one process does, report why they end, and continue on any number of processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT
from small_recipe import assert_same, checkpoint, small_recipe, write_recipe

from detnas.run import pipeline


def torchrun(count: int, *words: object, **options: Any) -> subprocess.Popen[str]:
    """Start `torchrun … -m detnas WORDS`."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    return subprocess.Popen(
        [*command, "-m", "detnas", *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def lines_of_detnas(errors: str) -> list[str]:
    """The lines on standard error that are not torchrun's."""
    return [line for line in errors.splitlines() if line.startswith("detnas: ")]


def outcome(run: Path) -> list[Any]:
    """The results of search and evaluation, without their times."""
    rows = [json.loads(line) for line in (run / "search" / "candidates.jsonl").read_text().splitlines()]
    found: list[Any] = [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
    for name in ("winner", "shuffle3", "random"):
        found += [
            json.loads((run / "finetune" / name / f"{what}.json").read_text()) for what in ("evaluation", "detections")
        ]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("finished", ["fpn"], indirect=True)
def test_search_and_evaluation_are_those_of_one_process(finished: Path, blocks: Path, tmp_path: Path) -> None:
    """With the same trained networks, bit for bit."""
    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    shutil.rmtree(copy / "search")
    for place in (copy / "finetune").iterdir():
        (place / "evaluation.json").unlink()
        (place / "detections.json").unlink()
    process = torchrun(2, "run", finished.parent / "recipe.yaml", "--out", copy, "--data", blocks)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert_same(outcome(copy), outcome(finished))
    assert output.count("[3/7] search") == 1 and output.count("Report: ") == 1  # one process says it


def test_what_cannot_work_is_refused_once_in_one_line(blocks: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", finetune__batch_size=3)
    process = torchrun(2, "run", recipe, "--out", tmp_path / "run", "--data", blocks)
    _, errors = process.communicate(timeout=300)
    assert process.returncode != 0 and "exitcode  : 2" in errors
    (line,) = lines_of_detnas(errors)
    assert "finetune.batch_size = 3: cannot be divided evenly among 2 processes" in line
    assert "pipeline.py" not in errors  # no traceback but that of torchrun itself
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("finished", ["retinanet"], indirect=True)
def test_what_one_process_stumbles_over_is_said_once(finished: Path, blocks: Path, tmp_path: Path) -> None:
    """Of two batches of the validation set, only the second process evaluates the second."""
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run/finetune/winner/evaluation.json").unlink()
    shutil.copytree(blocks, tmp_path / "blocks")
    image = tmp_path / "blocks/val/val5.png"
    content = bytearray(image.read_bytes())
    content[len(content) // 2] ^= 255  # head and end are whole: that is what is looked at before training
    image.write_bytes(content)
    process = torchrun(
        2, "run", finished.parent / "recipe.yaml", "--out", tmp_path / "run", "--data", tmp_path / "blocks"
    )
    _, errors = process.communicate(timeout=300)
    (line,) = lines_of_detnas(errors)
    assert "val5.png: this image cannot be decoded" in line and "exitcode  : 2" in errors


def children(pid: int) -> dict[int, int]:
    """The processes that torchrun `pid` started, by their ranks."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            names = dict(line.partition("=")[::2] for line in (place / "environ").read_text().split("\0"))
        except OSError:
            continue
        if parent == pid and "RANK" in names:
            found[int(names["RANK"])] = int(place.name)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_run_of_which_a_process_is_killed_says_so_and_goes_on_with_one(
    killed: int, blocks: Path, tmp_path: Path
) -> None:
    """The rest of the training sees the same images: with synchronized norms it ends where one process does."""
    changes: dict[str, Any] = {"pretraining__source": "none"}
    training = {"sync_bn": True, "steps": 200, "optimizer": "sgd", "lr": 1e-4, "momentum": 0.0, "clip_norm": 1.0}
    recipe = write_recipe(tmp_path / "recipe.yaml", **changes, supernet_finetune={**training_of(tmp_path), **training})
    stage = tmp_path / "run" / "supernet-finetune"
    process = torchrun(2, "run", recipe, "--out", tmp_path / "run", "--data", blocks)
    while not list(stage.glob("checkpoint-*.pt")):
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(children(process.pid)[killed], signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    (line,) = lines_of_detnas(errors)
    # Whichever the other one notices first: that nobody answers, or torchrun's SIGTERM.
    assert (
        "another process" in line and "ended" in line and "--nproc-per-node=2" in line and str(tmp_path / "run") in line
    )
    step = checkpoint(stage)["step"]
    assert 0 < step < 200
    pipeline.run(str(recipe), tmp_path / "run", blocks, stages=("supernet-finetune",))
    pipeline.run(str(recipe), tmp_path / "alone", blocks, stages=("supernet-finetune",))
    rows, alone = (
        [json.loads(row) for row in (place / "supernet-finetune/metrics.jsonl").read_text().splitlines()]
        for place in (tmp_path / "run", tmp_path / "alone")
    )
    assert [row["step"] for row in rows] == [row["step"] for row in alone] == list(range(10, 201, 10))
    for row, expected in zip(rows, alone, strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-2)


def training_of(tmp_path: Path) -> dict[str, Any]:
    return small_recipe().supernet_finetune.model_dump(mode="json")


@pytest.mark.slow
def test_a_scheduler_that_stops_a_run_of_several_leaves_a_checkpoint(blocks: Path, tmp_path: Path) -> None:
    """All stop after the same step, wherever each was when it was told, and one line says how to go on."""
    recipe = write_recipe(
        tmp_path / "recipe.yaml",
        pretraining__source="none",
        supernet_finetune={**training_of(tmp_path), "steps": 5000, "checkpoint_every": 5000},
    )
    stage = tmp_path / "run" / "supernet-finetune"
    process = torchrun(2, "run", recipe, "--out", tmp_path / "run", "--data", blocks)
    while not stage.exists():
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(1)
    for pid in children(process.pid).values():
        with suppress(ProcessLookupError):  # the first one told has already stopped both
            os.kill(pid, signal.SIGTERM)
        time.sleep(0.1)  # the other one may be a step ahead
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    (line,) = lines_of_detnas(errors)
    assert "stopped" in line and "--nproc-per-node=2" in line
    assert 0 < checkpoint(stage)["step"] < 5000
