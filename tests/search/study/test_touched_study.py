"""A study that is damaged, held by another process, or timed by a clock that somebody sets."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from toy_search import SAMPLER, SETTINGS, toy_search

import detnas.search.study.optuna_internals as optuna_internals
from detnas.search.study.study import is_complete
from detnas.utils.errors import UserError
from detnas.utils.progress import Progress

SMALL = {"evaluations": 6, "population": 3, "num_parents": 2, "num_mutations": 1, "num_crossovers": 1}


@pytest.fixture
def searched(tmp_path: Path) -> Path:
    toy_search(tmp_path / "searched", **SMALL)
    return tmp_path / "searched"


def change(study: Path, statement: str) -> None:
    with closing(sqlite3.connect(study)) as database:
        database.execute(statement)
        database.commit()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE trials SET state = 'COMPLDTE'",
        "UPDATE trial_user_attributes SET value_json = '{' WHERE key = 'index'",
        "UPDATE trial_user_attributes SET value_json = '\"x\"' WHERE key = 'index'",
        "UPDATE trial_params SET distribution_json = '[]'",
        "UPDATE trial_params SET param_name = param_name || 'x'",
        "",
    ],
)
def test_a_damaged_study_is_named_and_searched_again_once_it_is_deleted(statement: str, searched: Path) -> None:
    best = json.loads((searched / "best.json").read_text())
    study = searched / "study.db"
    if not statement:
        content = study.read_bytes()
        study.write_bytes(content[:5000] + bytes(20_000) + content[25_000:])
    else:
        change(study, statement)
    with pytest.raises(
        UserError, match=r"study\.db: damaged, .*; delete it, and the same command evaluates"
    ) as refusal:
        toy_search(searched, **SMALL)
    assert "\n" not in str(refusal.value)
    study.unlink()
    toy_search(searched, **SMALL)
    again = json.loads((searched / "best.json").read_text())
    assert again | {"seconds": 0} == best | {"seconds": 0}


def test_a_search_is_complete_only_with_all_that_it_has_left(searched: Path) -> None:
    settings = SETTINGS.model_copy(update=SMALL)
    assert is_complete(searched, settings, SAMPLER.space)
    for name in ("best.json", "candidates.jsonl", "done.json"):
        whole = (searched / name).read_text()
        for spoilt in (whole.replace("1", "2"), whole[:-3], "", None):
            (searched / name).unlink()
            if spoilt is not None:
                (searched / name).write_text(spoilt)
            if name != "done.json" or not spoilt or spoilt == whole[:-3]:  # its own numbers are only shown
                assert not is_complete(searched, settings, SAMPLER.space), (name, spoilt)
            toy_search(searched, evaluator=lambda architecture: pytest.fail("evaluated again"), **SMALL)
            assert (searched / name).read_text() == whole and is_complete(searched, settings, SAMPLER.space)


def test_waiting_for_another_process_is_said(
    searched: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As of a worker that was stopped within a transaction."""
    monkeypatch.setattr(optuna_internals, "SAYS_AFTER", 0.1)
    monkeypatch.setattr("detnas.search.study.storage.TRANSACTION_TIMEOUT", 0.1)
    with closing(sqlite3.connect(searched / "study.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UserError, match="another process holds it in a transaction") as refusal:
            toy_search(searched, progress=Progress(), **SMALL)
        assert "\n" not in str(refusal.value)
        said = capsys.readouterr().out
        assert f"waits for {searched / 'study.db'}, which " in said and "holds" in said
        other.execute("ROLLBACK")
    toy_search(searched, **SMALL)


def test_durations_do_not_come_from_the_clock_on_the_wall(tmp_path: Path) -> None:
    """While it evaluates, somebody sets the clock back."""
    toy_search(tmp_path, **SMALL)
    change(tmp_path / "study.db", "UPDATE trials SET datetime_complete = '1999-01-01 00:00:00.000000'")
    whole = (tmp_path / "candidates.jsonl").read_text()
    (tmp_path / "done.json").unlink()
    toy_search(tmp_path, **SMALL)
    assert (tmp_path / "candidates.jsonl").read_text() == whole
    rows = [json.loads(line) for line in whole.splitlines()]
    assert all(0 <= row["seconds"] < 60 for row in rows)


def test_a_trial_of_another_program_has_the_duration_of_its_dates(tmp_path: Path) -> None:
    toy_search(tmp_path, **SMALL)
    change(tmp_path / "study.db", "DELETE FROM trial_user_attributes WHERE key = 'scores'")
    toy_search(tmp_path, **SMALL)
    rows = [json.loads(line) for line in (tmp_path / "candidates.jsonl").read_text().splitlines()]
    assert all(row["seconds"] >= 0 and row["AP50"] is None for row in rows)
