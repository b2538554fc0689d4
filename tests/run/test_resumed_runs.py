"""The command of a run given again: after its end, after damage, and after the process was killed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from run_results import command, results, snapshot
from small_recipe import assert_same, small_recipe, write_recipe

import detnas.run.context as running
import detnas.run.opening as opening
import detnas.run.pipeline as pipeline
import detnas.run.search_stage as search_stage
from detnas.utils.errors import UserError
from detnas.utils.progress import Progress


def test_the_same_command_again_changes_nothing(
    finished: Path, blocks: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(finished)
    monkeypatch.setattr(search_stage, "search", None)  # whoever trains or searches fails
    monkeypatch.setattr(running, "train", None)
    assert command(monkeypatch, "run", finished.parent / "recipe.yaml", "--out", finished, "--data", blocks) == 0
    after = snapshot(finished)
    assert after.keys() == before.keys()
    assert {name for name in after if after[name][0] != before[name][0]} <= {"report.html", ".lock"}
    assert {name for name in after if after[name][1] != before[name][1]} <= {"report.html"}


def test_what_is_missing_is_made_again_and_nothing_else(finished: Path, blocks: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    before = snapshot(copy)
    (copy / "finetune" / "random" / "evaluation.json").unlink()
    (copy / "report.html").unlink()
    pipeline.run(str(finished.parent / "recipe.yaml"), copy, blocks)
    after = snapshot(copy)
    redone = {name for name in after if name not in before or before[name][0] != after[name][0]} - {".lock"}
    (events,) = redone - before.keys()
    assert events.startswith("finetune/random/events.out.tfevents")  # for the scores
    files = ("evaluation.json", "detections.json", "metrics.jsonl", "detector.safetensors")
    evaluated = {f"finetune/random/{name}" for name in files}
    assert redone == {"report.html", events} | evaluated
    assert after["finetune/random/metrics.jsonl"] != before["finetune/random/metrics.jsonl"]
    assert after["finetune/random/metrics.jsonl"][1] == before["finetune/random/metrics.jsonl"][1]
    assert_same(results(copy), results(finished))


DAMAGED = {
    # What is damaged, and which stages are to be run again: the weights of the first are needed by the second.
    "supernet-pretrain": ("supernet-pretrain", "supernet-finetune"),
    "supernet-finetune": ("supernet-finetune", "search"),
    "pretrain/shuffle3": ("pretrain", "finetune"),
}


@pytest.mark.parametrize("finished", ["retinanet"], indirect=True)
@pytest.mark.parametrize("damaged", DAMAGED)
def test_a_finished_training_with_a_damaged_checkpoint_is_finished_again(
    damaged: str, finished: Path, blocks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the checkpoint before it, to the same bytes; and never used as it is."""
    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    last = max((copy / damaged).glob("checkpoint-*.pt"))
    whole = last.read_bytes()
    recipe = str(finished.parent / "recipe.yaml")
    stage, next_stage = DAMAGED[damaged]

    def spoil() -> None:
        last.write_bytes(whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :])

    def finish(stages: tuple[str, ...] | None) -> None:
        if stage == "pretrain":  # whose only checkpoint this is
            with pytest.raises(UserError, match="none is whole; remove this folder"):
                pipeline.run(recipe, copy, blocks, stages=stages)
            shutil.rmtree(copy / damaged)
        pipeline.run(recipe, copy, blocks, stages=stages, progress=Progress())
        said = capsys.readouterr().out
        assert (f"{last.name} is damaged; continuing from step 10" in said) == (stage != "pretrain")

    spoil()
    later = snapshot(copy / next_stage)
    finish(None)
    assert last.read_bytes() == whole and snapshot(copy / next_stage) == later
    spoil()
    if next_stage == "finetune":
        for name in ("evaluation.json", "done.json"):
            (copy / "finetune" / "shuffle3" / name).unlink()
        for path in (copy / "finetune" / "shuffle3").glob("checkpoint-*"):
            path.unlink()
    else:
        shutil.rmtree(copy / next_stage)
    with pytest.raises(UserError, match="damaged; `detnas run`"):
        pipeline.run(recipe, copy, blocks, stages=(next_stage,))
    finish((stage, next_stage))
    assert last.read_bytes() == whole
    assert_same(results(copy), results(finished))


@pytest.mark.parametrize("finished", ["retinanet"], indirect=True)
def test_two_runs_of_one_recipe_give_the_same_bytes(finished: Path, blocks: Path, tmp_path: Path) -> None:
    torch.manual_seed(77)
    pipeline.run(str(finished.parent / "recipe.yaml"), tmp_path / "run", blocks)
    assert_same(results(tmp_path / "run"), results(finished))
    assert (tmp_path / "run/detector.safetensors").read_bytes() == (finished / "detector.safetensors").read_bytes()


KILLED = """
import os, random, signal, sys
import sqlalchemy
import torch
import detnas.cli.main, detnas.run.pipeline, detnas.report
import optuna

torch.set_num_threads(1)
words, chance = sys.argv[2:], random.Random(int(sys.argv[1]))


@sqlalchemy.event.listens_for(sqlalchemy.Engine, "connect")
def fast(connection, record):
    connection.execute("PRAGMA synchronous=OFF")


def attempt(countdown):
    # Dies at the given one of the moments at which something is about to be, or has just been, made to last.
    def dying(work):
        def moment():
            nonlocal countdown
            countdown -= 1
            if countdown == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        def inside(*args, **names):
            moment()
            result = work(*args, **names)
            moment()
            return result

        return inside

    os.replace = dying(os.replace)
    os.rename = dying(os.rename)
    optuna.Study.ask = dying(optuna.Study.ask)
    optuna.Study.tell = dying(optuna.Study.tell)
    sys.argv = ["detnas", *words]
    detnas.cli.main.main()


kills = 0
while kills < 200:
    countdown = chance.randint(2, 12)
    child = os.fork()
    if child == 0:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 1)
        attempt(countdown)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        kills += 1
        continue
    print("kills", kills)
    sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("detector", "data"), [("retinanet", "folder"), ("fpn", "shapes"), ("fpn", "inherit")])
def test_a_run_killed_again_and_again_ends_the_same(detector: str, data: str, blocks: Path, tmp_path: Path) -> None:
    changes = {
        "folder": {},
        "shapes": {"pretraining__source": "folder", "pretraining__folder": "classification/train"},
        "inherit": {"inherit": True},
    }
    recipe = write_recipe(tmp_path / "recipe.yaml", detector, **changes[data])
    words = [] if data == "shapes" else ["--data", str(blocks)]
    process = subprocess.run(
        [sys.executable, "-c", KILLED, "1", "run", str(recipe), "--out", str(tmp_path / "killed"), *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    kills = int(process.stdout.split()[-1])
    assert kills >= 8
    pipeline.run(str(recipe), tmp_path / "whole", None if data == "shapes" else blocks)
    assert_same(results(tmp_path / "killed"), results(tmp_path / "whole"))
    assert (tmp_path / "killed/report.html").exists()
    for path in (tmp_path / "whole").rglob("metrics.jsonl"):
        other = tmp_path / "killed" / path.relative_to(tmp_path / "whole")
        assert [row["step"] for row in map(json.loads, other.read_text().splitlines())] == [
            row["step"] for row in map(json.loads, path.read_text().splitlines())
        ]


def test_a_run_killed_while_the_data_set_is_drawn_goes_on(tmp_path: Path) -> None:
    """What a killed process left of its drawing, or of writing recipe.yaml, is in nobody's way."""
    run = tmp_path / "run"
    (run / ".data-abc123" / "shapes" / "train").mkdir(parents=True)
    (run / ".recipe.yaml.77.tmp").write_text("name: sm")
    pipeline.run(small_recipe(), run, stages=())
    assert (run / "recipe.yaml").exists() and (run / "data" / "train.json").exists()


def test_shapes_that_a_cut_run_drew_for_another_recipe_are_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(opening, "store_recipe", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pipeline.run(small_recipe(), run, stages=())
    pipeline.run(small_recipe(data__shapes__train=30), run, stages=())
    assert len(json.loads((run / "data/train.json").read_text())["images"]) == 30
