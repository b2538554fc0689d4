"""A training process killed at twenty random moments ends in the bytes of the one that was left alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_recipe import assert_same, checkpoint, write_recipe
from small_training import timeless

from detnas.run.pipeline import run

KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import torch
import detnas.run.pipeline

torch.set_num_threads(1)
seed, recipe, out, data, stage = sys.argv[1:]
chance = random.Random(int(seed))


def killed_in_writing(countdown):
    # Between the writing of a file, whole or in part, and its renaming.
    def fsync(descriptor):
        nonlocal countdown
        countdown -= 1
        if countdown == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return fsync


def newest():
    return max((int(path.stem.split("-")[-1]) for path in Path(out, stage).glob("checkpoint-*")), default=0)


def is_alive(child):
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


kills = unfinished = 0
for number in range(20):
    begun, countdown, moment = newest(), chance.randint(2, 6), chance.uniform(0, 0.05)
    child = os.fork()
    if child == 0:
        if number % 4 == 3:
            os.fsync = killed_in_writing(countdown)
        detnas.run.pipeline.run(recipe, out, data, stages=(stage,))
        os._exit(0)
    # Most of a process's life here is its beginning: the moment counts from its first checkpoint.
    while newest() == begun and is_alive(child):
        time.sleep(0.001)
    if number % 4 != 3:
        time.sleep(moment)
        os.kill(child, signal.SIGKILL)
    kills += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    unfinished += any(Path(out, stage).glob(".*.tmp"))
detnas.run.pipeline.run(recipe, out, data, stages=(stage,))
print(kills, unfinished)
"""


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["supernet-pretrain", "supernet-finetune"])
def test_a_training_killed_at_twenty_moments_ends_in_the_same_bytes(stage: str, blocks: Path, tmp_path: Path) -> None:
    field = stage.replace("-", "_")
    # A checkpoint at every step, so that moments fall before, within and after its writing; few blocks, or most of the
    # time goes into writing.
    changes = {f"{field}__steps": 100, f"{field}__checkpoint_every": 1, f"{field}__ema_decay": 0.9}
    changes["space__repeats"] = [1, 1, 1, 1]
    source = "crops" if stage == "supernet-pretrain" else "none"
    recipe = write_recipe(tmp_path / "recipe.yaml", pretraining__source=source, **changes)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, "1", str(recipe), str(tmp_path / "killed"), str(blocks), stage],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert killed.returncode == 0, killed.stdout + killed.stderr
    kills, unfinished = map(int, killed.stdout.split())
    assert kills == 20 and unfinished >= 5
    run(str(recipe), tmp_path / "whole", blocks, stages=(stage,))
    whole, other = tmp_path / "whole" / stage, tmp_path / "killed" / stage
    assert_same(checkpoint(other), checkpoint(whole))
    names = [path.name for path in sorted(whole.glob("checkpoint-*"))]
    assert names == ["checkpoint-00000099.pt", "checkpoint-00000100.pt"]
    assert [path.name for path in sorted(other.glob("checkpoint-*"))] == names
    for name in names:
        assert (other / name).read_bytes() == (whole / name).read_bytes()
    assert timeless(other) == timeless(whole) and len(timeless(whole)) == 10
    assert not list(other.glob(".*.tmp"))
