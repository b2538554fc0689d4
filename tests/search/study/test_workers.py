"""Several workers of one search: they leave what one leaves, whoever is killed, suspended or stopped, and go on where
candidates fail."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
import toy_search as toy
from optuna.trial import TrialState
from postgresql import postgresql
from toy_search import fitness, toy_search

from detnas.search.parameters import architecture_from
from detnas.search.samplers.base import History, Proposal
from detnas.search.samplers.tpe import TPESampler
from detnas.search.study.claims import ATTEMPTS, DEATHS, GIVEN_BACK, enqueue, trials_by_index
from detnas.search.study.trials import index_of
from detnas.spaces import Architecture
from detnas.utils.errors import UserError
from detnas.utils.progress import Progress
from detnas.utils.signals import StopRequested

SMALL: dict[str, Any] = {"evaluations": 10, "population": 4, "num_parents": 3, "num_mutations": 2, "num_crossovers": 1}
WHO = [None, "postgresql"]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql() as address:
        yield address


@pytest.fixture
def address(request: pytest.FixtureRequest) -> str | None:
    """Of the study's storage: None for SQLite in the run directory."""
    url: str | None = request.param and request.getfixturevalue("server")
    return url


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one undisturbed worker leaves."""
    directory = tmp_path_factory.mktemp("alone")
    toy_search(directory, **SMALL)
    return directory


def rows(directory: Path, file: str = "candidates.jsonl") -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (directory / file).read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def left(directory: Path) -> dict[str, Any]:
    """What a finished search left, without times."""
    best, done = (json.loads((directory / f"{name}.json").read_text()) for name in ("best", "done"))
    return {"rows": rows(directory), "best": best["number"], "evaluations": done["evaluations"]}


def trials(directory: Path, url: str | None = None, name: str = "search") -> list[optuna.trial.FrozenTrial]:
    storage = url or f"sqlite:///{directory / 'study.db'}"
    return optuna.load_study(study_name=name, storage=storage).trials


def open_study(directory: Path) -> optuna.Study:
    return optuna.load_study(study_name="search", storage=f"sqlite:///{directory / 'study.db'}")


def states(directory: Path) -> list[str]:
    return [trial.state.name for trial in trials(directory)]


class Counting:
    """Counts how often each architecture is evaluated, and may do something before that."""

    def __init__(self, before: Callable[[Architecture, int], object] = lambda architecture, time: None) -> None:
        self.before = before
        self.evaluated: Counter[str] = Counter()

    def __call__(self, architecture: Architecture) -> dict[str, float | None]:
        self.evaluated[str(architecture)] += 1
        self.before(architecture, self.evaluated[str(architecture)])
        return fitness(architecture)


@pytest.mark.parametrize("address", WHO, indirect=True)
def test_three_workers_leave_what_one_leaves(address: str | None, alone: Path, tmp_path: Path) -> None:
    """On a server, each in a folder of its own, as on several machines."""
    evaluators = [toy.noted(tmp_path / "evaluated") for _ in range(3)]
    folders = [tmp_path / str(number if address else 0) for number in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(
            pool.map(
                lambda one: toy_search(*one, storage=address, name="three", **SMALL),
                zip(folders, evaluators, strict=True),
            )
        )
    for folder in folders:
        assert left(folder) == left(alone)
        assert (folder / "best.json").read_bytes() == (folders[0] / "best.json").read_bytes()
    assert Counter(toy.evaluations(tmp_path / "evaluated")) == Counter(row["architecture"] for row in rows(alone))


@pytest.mark.slow
@pytest.mark.parametrize("address", WHO, indirect=True)
def test_workers_killed_at_random_lose_no_candidate_and_repeat_none(address: str | None, tmp_path: Path) -> None:
    toy_search(tmp_path / "alone")
    folder = tmp_path / "killed"
    killed = subprocess.run(
        [sys.executable, toy.__file__, folder, address or "", "1"],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert killed.returncode == 0, killed.stdout + killed.stderr
    assert int(killed.stdout) >= 6 and killed.stderr == ""
    assert left(folder) == left(tmp_path / "alone")
    found = trials(folder, address)
    finished = {index_of(trial): trial for trial in found if trial.state == TrialState.COMPLETE}
    assert len(finished) == sum(trial.state == TrialState.COMPLETE for trial in found) == 60
    started = Counter()
    for trial in found:
        if trial.datetime_start and trial.state != TrialState.WAITING:
            started[str(architecture_from(trial.params, toy.SPACE))] += 1
            assert trial.datetime_start <= finished[index_of(trial)].datetime_start  # nobody began what was finished
    assert Counter(toy.evaluations(folder / "evaluated")) <= started


# Coming, going and sleeping


def test_an_architecture_that_two_workers_propose_at_the_same_moment_is_evaluated_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker adds a trial for a later evaluation before this one has added its own."""
    propose = TPESampler.propose
    doubled: list[Proposal] = []

    def doubling(sampler: TPESampler, history: History, index: int) -> Proposal:
        proposal = propose(sampler, history, index)
        if index == 6 and not doubled:
            doubled.append(proposal)
            enqueue(open_study(tmp_path), 7, proposal, toy.SPACE)
        return proposal

    monkeypatch.setattr(TPESampler, "propose", doubling)
    evaluator = Counting()
    toy_search(tmp_path, evaluator, sampler="tpe", **SMALL)
    assert doubled and set(evaluator.evaluated.values()) == {1} and len(evaluator.evaluated) == 10
    assert [row["number"] for row in rows(tmp_path)] == list(range(10))
    assert rows(tmp_path)[7]["architecture"] == str(doubled[0].architecture)


def test_a_worker_that_is_stopped_gives_its_candidate_back(alone: Path, tmp_path: Path) -> None:
    def stop(architecture: Architecture, time: int) -> None:
        if len(first.evaluated) == 3:
            raise StopRequested(signal.SIGTERM)

    first, second = Counting(stop), Counting()
    with pytest.raises(StopRequested):
        toy_search(tmp_path, first, **SMALL)
    assert states(tmp_path) == ["COMPLETE", "COMPLETE", "FAIL"]
    assert GIVEN_BACK in trials(tmp_path)[2].user_attrs
    toy_search(tmp_path, second, **SMALL)
    assert left(tmp_path) == left(alone)
    assert (first.evaluated + second.evaluated).total() == 11 and not (tmp_path / "failed.jsonl").exists()


def test_a_worker_that_was_taken_for_dead_neither_counts_twice_nor_fails(alone: Path, tmp_path: Path) -> None:
    def sleep(architecture: Architecture, time: int) -> None:
        """So long that others take the candidate from it, and that they finish it."""
        if len(evaluator.evaluated) in (2, 5) and time == 1:
            study = open_study(tmp_path)
            mine = study.trials[-1]
            study.tell(mine.number, state=TrialState.FAIL)
            if len(evaluator.evaluated) == 5:
                copy = optuna.create_trial(
                    value=fitness(architecture)["mAP"],
                    params=mine.params,
                    distributions=mine.distributions,
                    user_attrs=mine.user_attrs | {"scores": fitness(architecture)},
                )
                study.add_trial(copy)
                raise ValueError("as it wakes up")

    evaluator = Counting(sleep)
    toy_search(tmp_path, evaluator, **SMALL)
    assert left(tmp_path) == left(alone)
    assert evaluator.evaluated.total() == 11 and max(evaluator.evaluated.values()) == 2
    assert not (tmp_path / "failed.jsonl").exists()


def test_what_a_killed_worker_only_announced_is_evaluated(alone: Path, tmp_path: Path) -> None:
    toy_search(tmp_path, **SMALL | {"evaluations": 2})
    study = open_study(tmp_path)
    row = rows(alone)[2]
    model = trials(alone)[2]
    for _ in range(2):  # two of them for the same index
        study.add_trial(
            optuna.create_trial(
                state=TrialState.WAITING,
                params=model.params,
                distributions=model.distributions,
                user_attrs={key: model.user_attrs[key] for key in ("index", "origin")},
            )
        )
    evaluator = Counting()
    toy_search(tmp_path, evaluator, **SMALL)
    assert left(tmp_path) == left(alone)
    assert evaluator.evaluated[row["architecture"]] == 1 and evaluator.evaluated.total() == 8


def test_who_has_the_study_alone_waits_for_no_grace_period(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_search(tmp_path, **SMALL | {"evaluations": 2})
    study = open_study(tmp_path)
    study._storage.create_new_trial(study._study_id, trials(alone)[2])
    with sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'study.db'}").begin() as connection:
        connection.execute(sqlalchemy.text("update trials set state = 'RUNNING' where number = 2"))
    monkeypatch.setattr("detnas.search.study.worker.fail_stale_trials", None)
    toy_search(tmp_path, **SMALL)
    assert left(tmp_path) == left(alone)


# Failures


def failing(architecture: str, times: int = 99) -> Counting:
    def fail(this: Architecture, time: int) -> None:
        if str(this) == architecture and time <= times:
            raise RuntimeError(f"no luck with {architecture}\nat all")

    return Counting(fail)


def test_a_candidate_that_fails_twice_is_evaluated_at_the_third_time(alone: Path, tmp_path: Path) -> None:
    evaluator = failing(rows(alone)[4]["architecture"], times=2)
    toy_search(tmp_path, evaluator, **SMALL)
    assert left(tmp_path) == left(alone)
    assert evaluator.evaluated[rows(alone)[4]["architecture"]] == 3 and evaluator.evaluated.total() == 12
    assert not (tmp_path / "failed.jsonl").exists()


def test_a_candidate_that_fails_three_times_is_left_out(
    alone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The best of the first generation, which has children otherwise; one worker and three do the same."""
    bad = max(rows(alone)[:4], key=lambda row: row["fitness"])
    evaluator = failing(bad["architecture"])
    toy_search(tmp_path / "one", evaluator, Progress(), **SMALL)
    assert evaluator.evaluated.pop(bad["architecture"]) == ATTEMPTS and set(evaluator.evaluated.values()) == {1}
    found = rows(tmp_path / "one")
    assert [row["number"] for row in found] == [number for number in range(10) if number != bad["number"]]
    facts = {key: bad[key] for key in ("number", "generation", "origin", "architecture")}
    error = f"RuntimeError: no luck with {bad['architecture']}"
    assert rows(tmp_path / "one", "failed.jsonl") == [{**facts, "error": error}]
    assert json.loads((tmp_path / "one/done.json").read_text())["evaluations"] == 9
    said = capsys.readouterr().out
    assert said.count("no luck") == 1 and f"candidate {bad['number']} is given up" in said
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: toy_search(tmp_path / "three", failing(bad["architecture"]), **SMALL), range(3)))
    assert left(tmp_path / "three") == left(tmp_path / "one")
    assert rows(tmp_path / "three", "failed.jsonl") == rows(tmp_path / "one", "failed.jsonl")


def test_a_candidate_whose_workers_die_again_and_again_is_left_out(alone: Path, tmp_path: Path) -> None:
    """No search would end that has such a candidate, and workers begun again whenever they die."""
    toy_search(tmp_path, **SMALL | {"evaluations": 1})
    study = open_study(tmp_path)
    model = trials(alone)[1]
    dead = optuna.create_trial(
        state=TrialState.FAIL,
        params=model.params,
        distributions=model.distributions,
        user_attrs={key: model.user_attrs[key] for key in ("index", "origin")},
    )
    for _ in range(DEATHS):
        study.add_trial(dead)
    evaluator = Counting()
    toy_search(tmp_path, evaluator, **SMALL)
    (failed,) = rows(tmp_path, "failed.jsonl")
    assert failed["number"] == 1 and "death of each process" in failed["error"]
    assert failed["architecture"] == rows(alone)[1]["architecture"] not in evaluator.evaluated
    assert trials_by_index(trials(tmp_path)).keys() == set(range(10)) - {1}


@pytest.mark.parametrize("value", [float("nan"), None])
def test_a_fitness_that_is_no_number_is_a_failure(value: float | None, alone: Path, tmp_path: Path) -> None:
    bad = rows(alone)[2]["architecture"]

    def evaluator(architecture: Architecture) -> dict[str, float | None]:
        return fitness(architecture) | ({"mAP": value} if str(architecture) == bad else {})

    toy_search(tmp_path, evaluator, **SMALL)
    assert [row["error"] for row in rows(tmp_path, "failed.jsonl")] == [f"ValueError: its mAP is {value}"]


def test_a_search_in_which_nothing_works_ends_and_says_so(tmp_path: Path) -> None:
    def evaluator(architecture: Architecture) -> dict[str, float | None]:
        raise ZeroDivisionError("no such device")

    for _ in range(2):
        with pytest.raises(UserError) as caught:
            toy_search(tmp_path, evaluator, **SMALL)
        said = str(caught.value)
        assert "all 4 candidates" in said and "ZeroDivisionError: no such device" in said and str(tmp_path) in said
    assert not (tmp_path / "done.json").exists() and len(states(tmp_path)) == 12


@pytest.mark.parametrize("error", [MemoryError(), UserError("no such file"), OSError(28, "No space left")])
def test_what_the_process_lacks_is_no_failure_of_the_candidate(error: Exception, alone: Path, tmp_path: Path) -> None:
    def lack(architecture: Architecture, time: int) -> None:
        if len(evaluator.evaluated) == 2:
            raise error

    evaluator = Counting(lack)
    with pytest.raises(type(error)):
        toy_search(tmp_path, evaluator, **SMALL)
    assert states(tmp_path) == ["COMPLETE", "FAIL"] and GIVEN_BACK in trials(tmp_path)[1].user_attrs
    toy_search(tmp_path, **SMALL)
    assert left(tmp_path) == left(alone)


# The storage


def test_a_candidate_costs_few_transactions_that_write(tmp_path: Path) -> None:
    """Added, a heartbeat, begun, its scores, finished."""
    writes: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if statement.split()[0] in ("INSERT", "UPDATE", "DELETE"):
            writing.add(connection.connection.dbapi_connection)

    def commit(connection: Any) -> None:
        if connection.connection.dbapi_connection in writing:
            writing.remove(connection.connection.dbapi_connection)
            writes.append("one")

    writing: set[Any] = set()
    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", note)
    sqlalchemy.event.listen(sqlalchemy.Engine, "commit", commit)
    try:
        toy_search(tmp_path, **SMALL | {"evaluations": 4})
        few = len(writes)
        toy_search(tmp_path, **SMALL | {"evaluations": 8})
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", note)
        sqlalchemy.event.remove(sqlalchemy.Engine, "commit", commit)
    assert few >= 20 and len(writes) - few <= 5 * 4 + 2


@pytest.mark.parametrize("name", ["one", "other"])
def test_a_server_keeps_studies_apart_by_name(name: str, server: str, alone: Path, tmp_path: Path) -> None:
    evaluator = Counting()
    toy_search(tmp_path, evaluator, storage=server, name=name, **SMALL)
    assert left(tmp_path) == left(alone) and evaluator.evaluated.total() == 10
    assert not (tmp_path / "study.db").exists()


def test_a_storage_that_does_not_answer_is_named_in_one_line(tmp_path: Path) -> None:
    for url, reason in (
        ("postgresql+psycopg://me@127.0.0.1:1/studies", "refused"),
        (f"postgresql+psycopg://me@/studies?host={tmp_path}", "No such file"),
        ("postgresql+psycopg://me@host:port/studies", "not the address"),
    ):
        with pytest.raises(UserError) as caught:
            toy_search(tmp_path / "run", storage=url, **SMALL)
        assert reason in str(caught.value) and url in str(caught.value) and "\n" not in str(caught.value)


def test_a_driver_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymysql", None)
    with pytest.raises(UserError, match=r'pip install "detnas\[mysql\]"'):
        toy_search(tmp_path, storage="mysql+pymysql://me@host/studies", **SMALL)
