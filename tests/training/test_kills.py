"""A training process killed at twenty random moments ends in the bytes of the one that was left alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_recipe import assert_same, checkpoint, write_recipe
from small_training import timeless

from detnas.pipeline import run

KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import torch
import detnas.pipeline

torch.set_num_threads(1)
seed, recipe, out, data, stage = sys.argv[1:]
chance = random.Random(int(seed))


def train():
    child = os.fork()
    if child == 0:
        detnas.pipeline.run(recipe, out, data, stages=(stage,))
        os._exit(0)
    return child


def newest():
    return max((int(path.stem.split("-")[-1]) for path in Path(out, stage).glob("checkpoint-*")), default=0)


kills = in_writing = 0
reached = set()
while kills < 20:
    child = train()
    # Most of a process's life is not training: it is given time until a checkpoint is new, and a moment more.
    begun = newest()
    while newest() == begun and os.waitpid(child, os.WNOHANG)[0] == 0:
        time.sleep(0.001)
    time.sleep(chance.uniform(0, float(os.environ["MOMENT"])))
    os.kill(child, signal.SIGKILL)
    try:
        os.waitpid(child, 0)
    except ChildProcessError:
        sys.exit("the training ended before it had been killed twenty times")
    kills += 1
    in_writing += any(Path(out, stage).glob(".*.tmp"))
    reached.add(newest())
detnas.pipeline.run(recipe, out, data, stages=(stage,))
print(kills, in_writing, len(reached))
"""


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["supernet-pretrain", "supernet-finetune"])
def test_a_training_killed_at_twenty_moments_ends_in_the_same_bytes(stage: str, blocks: Path, tmp_path: Path) -> None:
    field = stage.replace("-", "_")
    # A checkpoint at every other step: many of the moments are within its writing.
    changes = {f"{field}__steps": 160, f"{field}__checkpoint_every": 2, f"{field}__ema_decay": 0.9}
    source = "crops" if stage == "supernet-pretrain" else "none"
    recipe = write_recipe(tmp_path / "recipe.yaml", pretraining__source=source, warm_start=30, **changes)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, "1", str(recipe), str(tmp_path / "killed"), str(blocks), stage],
        env=os.environ | {"OMP_NUM_THREADS": "1", "MOMENT": "0.2"},
        capture_output=True,
        text=True,
    )
    assert killed.returncode == 0, killed.stdout + killed.stderr
    kills, in_writing, reached = map(int, killed.stdout.split())
    assert kills == 20 and reached >= 10
    run(str(recipe), tmp_path / "whole", blocks, stages=(stage,))
    whole, other = tmp_path / "whole" / stage, tmp_path / "killed" / stage
    assert_same(checkpoint(other), checkpoint(whole))
    names = [path.name for path in sorted(whole.glob("checkpoint-*"))]
    assert names == ["checkpoint-00000158.pt", "checkpoint-00000160.pt"]
    assert [path.name for path in sorted(other.glob("checkpoint-*"))] == names
    for name in names:
        assert (other / name).read_bytes() == (whole / name).read_bytes()
    assert timeless(other) == timeless(whole) and len(timeless(whole)) == 16
    assert not list(other.glob(".*.tmp")), f"{in_writing} were left by kills"
