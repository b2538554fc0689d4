"""A finished run of which somebody touched a file: every command reads on, or says in one line which file and what to
do; and the run's command, or what that line says, makes what is derived again, to the same bytes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from shell import Shell

from detnas.run.ranking import rank
from detnas.utils.progress import Progress

DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "deleted": lambda content: None,
    "cut": lambda content: content[: len(content) // 2],
    "emptied": lambda content: b"",
    "flipped": lambda content: b"".join(
        bytes([byte ^ 0x10]) if place == len(content) // 2 else content[place : place + 1]
        for place, byte in enumerate(content)
    ),
    "of another shape": lambda content: b"[]\n",
}
PARTS = 8
"""Tests among which the files are distributed."""
KEPT = ("recipe.yaml", "study.db")
"""What nothing else in the directory can make again."""
FOR_PEOPLE = ("metrics.jsonl", "report.html", ".writing", ".checking")
"""Logs, the page, which holds the time of its writing, and beside other locks two, which hold nothing."""


@pytest.fixture(scope="module")
def ranked(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, of which `detnas rank` was asked too; `recipe.yaml` is beside it. Not to be changed."""
    run = Path(shutil.copytree(finished, tmp_path_factory.mktemp("ranked") / "run"))
    shutil.copy(finished.parent / "recipe.yaml", run.parent)
    rank(run, 3, Progress(quiet=True))
    return run


def files_of_each_kind(run: Path) -> list[str]:
    """The files of a run but TensorBoard's; of networks beside the winner, those of one in each folder."""
    kinds: dict[tuple[str, ...], str] = {}
    for path in sorted(path for path in run.rglob("*") if path.is_file() and "tfevents" not in path.name):
        name = path.relative_to(run)
        kinds.setdefault(tuple("NETWORK" if is_network(part) else part for part in name.parts), str(name))
    return list(kinds.values())


def is_network(part: str) -> bool:
    """Whether a part of a path is the name of a network other than the winner, or the lock of one."""
    return part in ("shuffle3", "random") or part.strip(".lock").replace("-", "").isdigit()


def content(path: Path) -> object:
    """What must come back: all bytes, but not the seconds that a check has taken."""
    if path.name == "recalibration.json":
        return {**json.loads(path.read_text()), "seconds": 0}
    return path.read_bytes()


class Damaged:
    """A copy of a run, of which one file at a time is damaged."""

    def __init__(self, whole: Path, blocks: Path, copy: Path, shell: Shell) -> None:
        self.whole, self.blocks, self.copy, self.shell = whole, blocks, copy, shell
        self.command = ("run", whole.parent / "recipe.yaml", "--out", copy, "--data", blocks)
        shutil.copytree(whole, copy)

    def check(self, name: str, damage: str) -> None:
        spoilt = DAMAGES[damage]((self.whole / name).read_bytes())
        (self.copy / name).unlink()
        if spoilt is not None:
            (self.copy / name).write_bytes(spoilt)
        if Path(name).suffix in (".json", ".jsonl", ".yaml", ".db"):  # they open no others
            self.call(name, "status", self.copy)
            self.call(name, "report", self.copy)
        if Path(name).name in ("recipe.yaml", "detector.safetensors"):
            check = next((self.blocks / "val").glob("*.png"))
            self.call(name, "export", self.copy / name, "--format", "py", "--check", check, "--out", self.copy / "x.py")
        if name.startswith("supernet-finetune/"):
            self.call(name, "rank", self.copy, "--n", 3)
        words = ("rank", self.copy, "--n", 3) if name.startswith("rank/") else self.command
        said = self.call(name, *words)
        if said and Path(name).name not in KEPT:
            assert "remove this folder" in said, said
            shutil.rmtree((self.copy / name).parent)
            said = self.call(name, *words)
        if words != self.command:
            assert not self.call(name, *self.command)
        is_made_again = Path(name).name not in (*KEPT, *FOR_PEOPLE) and not name.endswith("lock")
        if is_made_again and not self.may_be_missing(name):
            assert not said and content(self.copy / name) == content(self.whole / name), (name, damage)
        self.restore()

    def may_be_missing(self, name: str) -> bool:
        """Whether a file may be deleted to save space, and whether it is one from before the end of its training."""
        last = max((self.whole / name).parent.glob("*.pt"), default=None)
        return name.endswith(".pt") and (not (self.copy / name).exists() or self.whole / name != last)

    def call(self, name: str, *words: object) -> str:
        """What a command says that refuses to work; nothing if it works."""
        status, said = self.shell.ended(*words)
        assert status in (0, 2) and "Traceback" not in said, (words, said)
        if status == 0:
            return ""
        is_named = Path(name).name in said or str((self.copy / name).parent) in said
        assert said.startswith("detnas: ") and said.count("\n") == 1 and is_named, (name, words, said)
        return said

    def restore(self) -> None:
        shutil.rmtree(self.copy)
        shutil.copytree(self.whole, self.copy)


@pytest.mark.parametrize("finished", ["retinanet"], indirect=True)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("damage", ["in turn", *(pytest.param(damage, marks=pytest.mark.slow) for damage in DAMAGES)])
def test_what_a_command_reads_is_whole_or_named(
    damage: str, part: int, ranked: Path, blocks: Path, tmp_path: Path, shell: Shell
) -> None:
    """Each kind of file is damaged in one way, or in all."""
    damaged = Damaged(ranked, blocks, tmp_path / "run", shell)
    names = files_of_each_kind(ranked)
    assert len(names) > 40
    ways = list(DAMAGES)
    for place, name in list(enumerate(names))[part::PARTS]:
        damaged.check(name, ways[place % len(ways)] if damage == "in turn" else damage)


def test_a_recipe_of_a_run_that_has_a_key_twice_is_damaged(finished: Path, tmp_path: Path, shell: Shell) -> None:
    run = tmp_path / "run"
    run.mkdir()
    text = (finished / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(text + text)
    for command in ("status", "report", "search"):
        assert "run/recipe.yaml is damaged (key 'name' occurs 2 times" in (said := shell.refused(command, run))
        assert "restore it, or start a new run in another folder" in said
