"""Where a run stands, from files that a run has left so far."""

import io
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from rich.console import Console
from shell import Shell
from small_recipe import small_recipe

from detnas.cli.status_table import show
from detnas.run.status import StageStatus, format_status, read_status
from detnas.rundir.directory import write_stored_run
from detnas.rundir.layout import FORMAT, StoredRun


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A run of which there is nothing but the recipe."""
    begin(tmp_path)
    return tmp_path


def begin(run: Path, **changes: Any) -> None:
    stored = StoredRun(
        recipe=small_recipe(**changes).model_dump(mode="json"),
        format=FORMAT,
        versions={},
        data_directory="/data",
        data_fingerprint="9f2c4e",
    )
    write_stored_run(run, stored)


PROPOSED = {"generation": 0, "origin": "random", "architecture": "00 00 0000 00"}


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def candidate(number: int, fitness: float, seconds: float = 4.0) -> dict[str, Any]:
    return {
        **PROPOSED,
        "number": number,
        "macs": 3_000_000,
        "params": 90_000,
        "fitness": fitness,
        "metric": "mAP",
        "AP50": None,
        "seconds": seconds,
    }


def finish(stage: Path, seconds: float = 5.0) -> None:
    stage.mkdir(parents=True, exist_ok=True)
    (stage / "done.json").write_text(
        json.dumps({"seconds": seconds, **({"evaluations": 0} if stage.name == "search" else {"steps": 10})})
    )


def stage(run: Path, name: str) -> StageStatus:
    return next(one for one in read_status(run).stages if one.name == name)


def table(run: Path, live: bool = False, **options: Any) -> str:
    said = io.StringIO()
    show(run, Console(file=said, width=120, force_terminal=live, color_system=None), live, **options)
    return said.getvalue()


def test_a_run_just_begun(begun: Path) -> None:
    status = read_status(begun)
    assert {one.state for one in status.stages} == {"not started"} and not status.is_finished
    assert [one.left for one in status.stages] == [None] * 9
    assert "not written yet" in table(begun) and table(begun).count("not started") == 9


def test_a_training_under_way_tells_its_pace_by_the_last_rows(begun: Path) -> None:
    slow = [{"step": step, "seconds": 100.0 * step, "loss": 9.0} for step in range(1, 11)]
    fast = [{"step": 10 + step, "seconds": 1000 + 2.0 * step, "loss": 3.0 - step / 100} for step in range(21)]
    write_rows(begun / "supernet-pretrain" / "metrics.jsonl", [*slow, *fast][:-23])
    assert stage(begun, "supernet-pretrain").seconds_per_unit == pytest.approx(100)
    begin(begun, supernet_pretrain__steps=50)
    write_rows(begun / "supernet-pretrain" / "metrics.jsonl", [*slow, *fast[1:]])
    found = stage(begun, "supernet-pretrain")
    assert (found.state, found.done, found.total, found.spent) == ("in progress", 30, 50, 1040)
    assert (
        found.seconds_per_unit == pytest.approx(2)
        and found.left == pytest.approx(40)
        and found.headline == "loss 2.800"
    )
    assert "supernet-pretrain: 30 of 50 steps saved, loss 2.800" in format_status(begun)
    row = next(line for line in table(begun).splitlines() if line.startswith("supernet-pretrain"))
    assert " ".join(row.split()) == "supernet-pretrain in progress 30/50 2.0 s each 17 min 20 s 40 s loss 2.800"


def test_candidates_that_failed_are_counted_apart(begun: Path) -> None:
    write_rows(begun / "search" / "failed.jsonl", [{"number": 0, **PROPOSED, "error": "ValueError: no"}])
    assert stage(begun, "search").headline == "1 more failed" and "search: started" in format_status(begun)
    write_rows(begun / "search" / "candidates.jsonl", [candidate(1, 0.21), candidate(2, 0.34, 1.0)])
    found = stage(begun, "search")
    assert (found.state, found.done, found.total, found.spent) == ("in progress", 2, 6, 5)
    assert found.left == pytest.approx(4 * 2.5) and found.headline == "best mAP 0.340, 1 more failed"
    said = "search: in progress, 2 of 6 candidates, 1 more failed (search/failed.jsonl)"
    assert f"{said}, best mAP 0.340 on the search split" in format_status(begun)


@pytest.mark.filterwarnings("ignore")
def test_the_study_tells_who_is_at_work(begun: Path) -> None:
    """Three trials run, of which one gave its last sign of life long ago; one has ended."""
    write_rows(begun / "search" / "candidates.jsonl", [candidate(0, 0.2)])
    path = begun / "search" / "study.db"
    study = optuna.create_study(storage=RDBStorage(f"sqlite:///{path}", heartbeat_interval=20))
    trials = [study.ask() for _ in range(5)]
    for number, value in enumerate((0.1, 0.2)):
        study.tell(trials[number], value)
    for trial in trials[2:]:
        study._storage.record_heartbeat(trial._trial_id)  # type: ignore[attr-defined]
    assert (stage(begun, "search").done, stage(begun, "search").headline) == (2, "best mAP 0.200, 3 workers at work")
    with closing(sqlite3.connect(path)) as database, database:
        changed = "UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00' WHERE trial_id = ?"
        database.execute(changed, [trials[4]._trial_id])
    found = stage(begun, "search")
    assert found.headline == "best mAP 0.200, 2 workers at work" and found.left == pytest.approx(4 * 4.0 / 2)
    path.write_bytes(b"no database")
    assert (stage(begun, "search").done, stage(begun, "search").headline) == (1, "best mAP 0.200")


def test_watching_ends_with_the_run(begun: Path) -> None:
    names = [one.name for one in read_status(begun).stages]
    waiting = iter(names)

    def work() -> None:
        name = next(waiting, None)
        if name is not None:
            finish(begun / name)
        else:
            (begun / "report.html").touch()

    said = table(begun, live=True, pause=work)
    assert next(waiting, None) is None and read_status(begun).is_finished
    assert "last saved" in said and "last saved" not in said.rsplit("recipe small", 1)[1]
    assert said.rsplit("recipe small", 1)[1].count("done") == len(names) + 1  # and a heading


def test_neither_torch_nor_optuna_is_imported(begun: Path) -> None:
    code = """
import sys
from pathlib import Path
from detnas.run.status import read_status
read_status(Path(sys.argv[1]))
sys.exit(", ".join(sys.modules.keys() & {"torch", "optuna"}) or None)
"""
    process = subprocess.run([sys.executable, "-c", code, str(begun)], stderr=subprocess.PIPE, text=True)
    assert process.returncode == 0, process.stderr


def test_watching_needs_a_terminal(begun: Path, shell: Shell) -> None:
    assert "--watch" in shell.refused("status", begun, "--watch")
    assert shell("status", begun).startswith(f"{begun}: recipe small\nsupernet-pretrain: not started\n")
