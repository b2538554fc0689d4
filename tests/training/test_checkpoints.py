"""Checkpoints: the last two are kept, and a damaged one is never used."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_recipe import assert_same
from torch import nn

from detnas.rundir.layout import TRAINING_DONE, TrainingDone, checkpoint_path
from detnas.training.checkpoints import (
    load_weights,
    newest_checkpoint,
    save_checkpoint,
    training_state,
)
from detnas.utils.errors import UserError


def silent(text: str) -> None:
    raise AssertionError(text)


def state(step: int) -> dict[str, Any]:
    return {"model": {"weight": torch.full((2, 3), float(step)), "bias": torch.zeros(2)}, "step": step, "window": [{}]}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training with two checkpoints, after steps 10 and 20. Not to be changed."""
    folder = tmp_path_factory.mktemp("two")
    for step in (10, 20):
        save_checkpoint(folder, step, state(step))
    TRAINING_DONE.write(folder, TrainingDone(seconds=1.0, steps=20))
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.pt"))


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path, silent) is None
    for step in (10, 13, 20, 100_000_000):
        save_checkpoint(tmp_path, step, state(step))
        assert_same(newest_checkpoint(tmp_path, silent), state(step))
    assert names(tmp_path) == ["checkpoint-00000020.pt", "checkpoint-100000000.pt"]
    # Torch reads it too: what ends the file is in nobody's way.
    assert_same(torch.load(tmp_path / "checkpoint-00000020.pt", weights_only=True), state(20))


def test_the_same_state_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        save_checkpoint(tmp_path / folder, 10, state(10))
    assert checkpoint_path(tmp_path / "a", 10).read_bytes() == checkpoint_path(tmp_path / "b", 10).read_bytes()


def assert_passed_over(folder: Path) -> None:
    """The second checkpoint in `folder` is damaged: nobody uses it."""
    said: list[str] = []
    assert_same(newest_checkpoint(folder, said.append), state(10))
    (line,) = said
    assert "checkpoint-00000020.pt" in line and "step 10" in line and str(folder) in line and "\n" not in line
    assert training_state(folder) == "damaged"
    with pytest.raises(UserError, match=r"checkpoint-00000020\.pt: damaged; `detnas run`"):
        load_weights(nn.Linear(3, 2), folder)


def test_any_flipped_byte_is_noticed(two: Path, tmp_path: Path) -> None:
    assert training_state(two) == "intact"
    folder = Path(shutil.copytree(two, tmp_path / "copy"))
    path = checkpoint_path(folder, 20)
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        assert training_state(folder) == "damaged", place
    assert_passed_over(folder)


@settings(max_examples=50, deadline=None)
@given(damage=st.data())
def test_no_damage_is_used_silently(two: Path, tmp_path_factory: pytest.TempPathFactory, damage: st.DataObject) -> None:
    """Cut anywhere, longer, with a stretch of it overwritten, or empty."""
    folder = Path(shutil.copytree(two, tmp_path_factory.mktemp("damaged") / "copy"))
    path = checkpoint_path(folder, 20)
    whole = path.read_bytes()
    start = damage.draw(st.integers(0, len(whole)))
    middle = damage.draw(st.binary(max_size=40))
    rest = damage.draw(st.integers(start, len(whole)))
    spoilt = whole[:start] + middle + whole[rest:]
    path.write_bytes(spoilt)
    if spoilt != whole:
        assert_passed_over(folder)
    shutil.rmtree(folder.parent)


def test_a_damaged_one_goes_with_the_next_that_is_saved(two: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(two, tmp_path / "copy"))
    checkpoint_path(folder, 20).write_bytes(b"torn")
    save_checkpoint(folder, 13, state(13))
    assert names(folder) == ["checkpoint-00000010.pt", "checkpoint-00000013.pt"]
    assert_same(newest_checkpoint(folder, silent), state(13))


def test_where_none_is_whole_nothing_starts_again_silently(two: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(two, tmp_path / "copy"))
    for step in (10, 20):
        checkpoint_path(folder, step).write_bytes(b"")
    with pytest.raises(UserError, match="none is whole; remove this folder") as caught:
        newest_checkpoint(folder, silent)
    assert "checkpoint-00000010.pt" in str(caught.value) and "\n" not in str(caught.value)


def test_a_checkpoint_that_would_run_code_is_not_read(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (open, (str(tmp_path / "ran"), "w"))

    save_checkpoint(tmp_path, 20, {"model": Evil(), "optimizer": {}, "step": 20})
    TRAINING_DONE.write(tmp_path, TrainingDone(seconds=1.0, steps=20))
    with pytest.raises(Exception, match=r"(?i)weights.only"):
        load_weights(nn.Linear(1, 1), tmp_path)
    with pytest.raises(Exception, match=r"(?i)weights.only"):
        newest_checkpoint(tmp_path, silent)
    assert not (tmp_path / "ran").exists()


def test_later_stages_take_the_averaged_weights(tmp_path: Path) -> None:
    averaged = {"weight": torch.full((2, 3), 7.0), "bias": torch.ones(2)}
    save_checkpoint(tmp_path, 20, state(20) | {"ema": {"weights": averaged, "updates": {}}})
    TRAINING_DONE.write(tmp_path, TrainingDone(seconds=1.0, steps=20))
    model = nn.Linear(3, 2)
    load_weights(model, tmp_path)
    assert_same(dict(model.state_dict()), averaged)


def test_one_that_was_deleted_is_told_from_one_that_is_damaged(two: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(two, tmp_path / "copy"))
    for stray in ("checkpoint-abc.pt", "checkpoint-00000020 (copy).pt", "checkpoint-.pt"):
        (folder / stray).write_bytes(b"stray")
    assert training_state(folder) == "intact"
    assert_same(newest_checkpoint(folder, silent), state(20))
    save_checkpoint(folder, 30, state(30))
    assert (folder / "checkpoint-abc.pt").exists() and not checkpoint_path(folder, 10).exists()
    checkpoint_path(folder, 20).unlink()
    assert training_state(folder) == "missing"
    with pytest.raises(UserError, match=r"checkpoint-00000020\.pt: missing; delete .*done\.json, and `detnas run`"):
        load_weights(nn.Linear(3, 2), folder)
    TRAINING_DONE.path(folder).write_text("{")
    assert training_state(folder) == "not done"
