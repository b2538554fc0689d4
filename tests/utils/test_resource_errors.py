"""No memory left, no space left: one line that says what to do, and nothing lost."""

import errno
import os
import resource
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_recipe import assert_same, checkpoint, small_recipe, write_recipe

import detnas.run.pipeline as pipeline
import detnas.run.search_stage as search_stage
from detnas.cli.main import main
from detnas.training import loop
from detnas.utils.errors import UserError
from detnas.utils.resource_errors import explain_disk_full, explain_out_of_memory

# Memory


def too_much_for_the_cpu() -> None:
    torch.empty(2**60, dtype=torch.uint8)


def too_much_for_python() -> None:
    bytearray(2**62)


def too_much_for_a_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize("work", [too_much_for_the_cpu, too_much_for_python, too_much_for_a_gpu])
def test_out_of_memory_says_what_to_lower(work: object) -> None:
    with (
        pytest.raises(
            UserError,
            match=r"^out of memory with a\.batch_size = 4; lower it and b \(another recipe, for another --out\)$",
        ),
        explain_out_of_memory("a.batch_size = 4", "and b"),
    ):
        work()  # type: ignore[operator]


@pytest.mark.parametrize("error", [RuntimeError("another"), ValueError("another"), KeyboardInterrupt()])
def test_other_errors_are_left_alone(error: BaseException, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as caught, explain_disk_full(tmp_path), explain_out_of_memory("a.batch_size = 4"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("where", "name", "stages", "message"),
    [
        (loop, "train_step", ("supernet-pretrain",), "supernet_pretrain.batch_size = 4; lower it and lr with it, or "
         "set supernet_pretrain.precision=bf16, or lower pretraining.image_size"),
        (loop, "train_step", ("supernet-finetune",), "supernet_finetune.batch_size = 2; lower it and lr with it, or "
         "set supernet_finetune.precision=bf16, or lower detector.min_size and max_size"),
        (search_stage, "search", ("supernet-finetune", "search"),
         "search.batch_size = 4, search.recalibration_batch_size = 2"),
    ],
)  # fmt: skip
def test_each_stage_names_its_fields(
    where: object,
    name: str,
    stages: tuple[str, ...],
    message: str,
    blocks: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(where, name, lambda *args, **names: too_much_for_the_cpu())
    source = "crops" if stages == ("supernet-pretrain",) else "none"
    recipe = small_recipe(pretraining__source=source, supernet_finetune__steps=3, supernet_finetune__warmup=0)
    with pytest.raises(UserError, match=r"^out of memory with ") as caught:
        pipeline.run(recipe, tmp_path / "run", blocks, stages=stages)
    assert message in str(caught.value)


# Room


def full_database() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("PRAGMA max_page_count=2")
    connection.execute("CREATE TABLE t (a)")
    connection.execute("INSERT INTO t VALUES (zeroblob(1000000))")


def full_device() -> None:
    with Path("/dev/full").open("w") as file:
        file.write("x")


def wrapped() -> None:
    try:
        full_database()
    except sqlite3.Error as error:
        raise RuntimeError("the library's own error") from error


def over_quota() -> None:
    raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))


@pytest.mark.parametrize("work", [full_database, full_device, wrapped, over_quota])
def test_no_room_is_said_in_one_line(work: object, tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match="no space left on the disk; what was saved is intact") as caught,
        explain_disk_full(tmp_path),
    ):
        work()  # type: ignore[operator]
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes, if this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, left: int) -> Path:
    """Leave so many bytes free on the disk."""
    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    status = os.statvfs(disk)
    with filler.open("wb") as file:
        file.write(b"x" * (status.f_bavail * status.f_frsize - left))
    return filler


@pytest.mark.slow
def test_a_full_disk_loses_nothing(
    small_disk: Path, blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It fills up at a checkpoint, at the metrics, in TensorBoard's thread and in the search's study."""
    changes = {"baselines": [], "search__evaluations": 2, "supernet_pretrain__steps": 30}
    recipe = write_recipe(tmp_path / "recipe.yaml", **changes)
    pipeline.run(str(recipe), tmp_path / "whole", blocks)
    out = small_disk / "run"
    ended = 0
    for stage in pipeline.STAGES:
        for left in (4096, 60_000, 300_000, 1_000_000):
            filler = fill(small_disk, left)
            before = {path: path.read_bytes() for path in out.rglob("*.pt")}
            try:
                pipeline.run(str(recipe), out, blocks, stages=(stage,))
            except UserError as error:
                ended += 1
                assert "no space left on the disk" in str(error) and "\n" not in str(error)
                assert all(path.read_bytes() == data for path, data in before.items() if path.exists())
                assert not list(out.rglob(".*.tmp"))
            filler.unlink()
        pipeline.run(str(recipe), out, blocks, stages=(stage,))
    assert ended >= 6
    for training in ("supernet-pretrain", "supernet-finetune", "pretrain/winner", "finetune/winner"):
        assert_same(checkpoint(out / training), checkpoint(tmp_path / "whole" / training))
    assert (out / "detector.safetensors").read_bytes() == (tmp_path / "whole" / "detector.safetensors").read_bytes()
    said = capfd.readouterr().err
    assert "Traceback" not in said, said


def test_the_command_says_it_in_one_line(
    blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A limit on the size of files stands for a full disk where none can be mounted."""
    recipe = write_recipe(tmp_path / "recipe.yaml")
    words = ["run", str(recipe), "--out", str(tmp_path / "run"), "--data", str(blocks)]
    monkeypatch.setattr("sys.argv", ["detnas", *words])
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, usual[1]))
    try:
        with pytest.raises(SystemExit) as caught:
            main()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"detnas: {tmp_path / 'run'}: no space left") and said.count("\n") == 1
    assert not list((tmp_path / "run").rglob("*.pt")) and not list((tmp_path / "run").rglob(".*.tmp"))
    pipeline.run(str(recipe), tmp_path / "run", blocks, stages=("supernet-pretrain",))
    assert checkpoint(tmp_path / "run" / "supernet-pretrain")["step"] == 20
