"""A run, or its data set, that was moved, renamed or replaced: the fingerprint decides what is the run's data set."""

import shutil
from pathlib import Path

import pytest
import yaml
from shell import Shell
from small_recipe import write_blocks, write_recipe

from detnas.rundir.directory import read_stored_run

PART = ("baselines=[]", "search.evaluations=2", "search.population=2", "search.num_parents=1", "finetune.steps=10")
SETS = [word for change in PART for word in ("--set", change)]


@pytest.fixture
def moved(finished: Path, blocks: Path, tmp_path: Path) -> Path:
    """A run whose data set lay in `old`, from where it was moved to `new`."""
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    shutil.copytree(blocks, tmp_path / "new")
    keep_in(run, str(tmp_path / "old"))
    return run


def keep_in(run: Path, data: str) -> None:
    tree = yaml.safe_load((run / "recipe.yaml").read_text())
    (run / "recipe.yaml").write_text(yaml.safe_dump(tree | {"data_directory": data}, sort_keys=False))


COMMANDS = {
    "report": ["report", "RUN"],
    "search": ["search", "RUN"],
    "join": ["search", "RUN", "--join"],
    "export": ["export", "RUN/detector.safetensors", "--format", "py", "--out", "RUN/backbone.py"],
    "export a baseline": ["export", "RUN/finetune/shuffle3/detector.safetensors", "--format", "py"],
    "rank": ["rank", "RUN", "--n", "3"],
    "retrain": ["retrain", "RUN", "00 00 0000 00"],
}


@pytest.mark.parametrize("finished", ["retinanet"], indirect=True)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_data_set_that_was_moved_is_asked_for_once(command: str, moved: Path, shell: Shell) -> None:
    old, new = moved.parent / "old", moved.parent / "new"
    words = [word.replace("RUN", str(moved)) for word in COMMANDS[command]]
    error = shell.refused(*words)
    assert str(old) in error and "--data DIR" in error
    other = write_blocks(old, train=25)  # another data set stands where the run's was
    error = shell.refused(*words)
    assert str(old) in error and "another data set" in error and "--data DIR" in error
    if "export" not in command:  # which may be checked on any images
        assert str(other) in shell.refused(*words, "--data", other)
    elif command == "export":
        shell(*words, "--data", other)
    assert read_stored_run(moved).data_directory == str(old)
    if command in ("rank", "retrain"):
        return  # the rest takes a training
    shell(*words, "--data", new)
    assert read_stored_run(moved).data_directory == str(new)
    shell(*words)
    assert "another data set" not in shell("status", moved)


@pytest.mark.parametrize("finished", ["retinanet"], indirect=True)
def test_the_runs_command_takes_the_new_place_too(moved: Path, finished: Path, shell: Shell) -> None:
    recipe, new = finished.parent / "recipe.yaml", moved.parent / "new"
    before = (moved / "recipe.yaml").read_text()
    shell("run", recipe, "--out", moved, "--data", new)
    stored = (moved / "recipe.yaml").read_text()
    assert stored == before.replace(f"{moved.parent}/old", str(new))
    link = moved.parent / "link"
    link.symlink_to(new)
    shell("run", recipe, "--out", moved, "--data", link)  # the same folder by another name
    assert (moved / "recipe.yaml").read_text() == stored


def test_a_run_with_its_own_data_set_goes_anywhere(tmp_path: Path, shell: Shell) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", pretraining__source="none")
    shell("run", recipe, "--out", tmp_path / "a", *SETS)
    assert read_stored_run(tmp_path / "a").data_directory == "data"
    page = (tmp_path / "a/report.html").read_text()
    (tmp_path / "a").rename(tmp_path / "b")
    shell("report", tmp_path / "b")
    images = [line for line in page.splitlines() if "data:image" in line]
    assert images and images == [
        line for line in (tmp_path / "b/report.html").read_text().splitlines() if "data:image" in line
    ]
    # As earlier versions wrote it, with another data set where the run was.
    keep_in(tmp_path / "b", str(tmp_path / "a" / "data"))
    write_blocks(tmp_path / "a" / "data")
    shell("search", tmp_path / "b")
    assert read_stored_run(tmp_path / "b").data_directory == "data"
    shutil.rmtree(tmp_path / "b" / "data")
    shutil.rmtree(tmp_path / "a")
    assert "give the run's command again" in shell.refused("report", tmp_path / "b")
    shell("run", recipe, "--out", tmp_path / "b", *SETS)
    assert (tmp_path / "b/data/train.json").is_file()
    # Images of the embedded data set that somebody deleted.
    shutil.rmtree(tmp_path / "b" / "data" / "val")
    said = shell.refused("run", recipe, "--out", tmp_path / "b", *SETS)
    assert f"; or remove {tmp_path / 'b' / 'data'}, and the same command draws it again" in said
    shutil.rmtree(tmp_path / "b" / "data")
    shell("run", recipe, "--out", tmp_path / "b", *SETS)
