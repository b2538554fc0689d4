"""Where the study of a search is kept: SQLite for the workers of one machine, a database server for several."""

import random
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError

from detnas.rundir.layout import GRACE_SECONDS, LOCK, STUDY
from detnas.utils.errors import UserError
from detnas.utils.files import acquire_lock, try_lock

HEARTBEAT = 20
"""Seconds between two signs of life of a worker that evaluates a candidate."""
PATIENCE = 120
"""Seconds that SQLite waits for another process's transaction."""
REACH = 10
"""Seconds in which a database server must answer."""
TRIES = 10
"""At making the tables, which several workers may do at the same time."""


@contextmanager
def open_study(
    directory: Path, url: str | None, name: str, sampler: BaseSampler, directions: Sequence[StudyDirection]
) -> Iterator[optuna.Study]:
    """The study `name` at `url`, or else in `directory` / study.db, made if it is not there, until the block ends.

    `directions` are those of its objectives.

    Trials that were left running by processes which are gone are given up where that can be known at once: in a
    study of `directory` that no other process has open. Raises `UserError` if it cannot be opened, read or written.
    """
    where = f"search.storage = {url}" if url else str(directory / STUDY)
    with (directory / LOCK).open("w") as held, _answering(where, url):
        alone = try_lock(held)
        if not alone:
            acquire_lock(held, shared=True)  # not before whoever was first has made the tables
        study = optuna.create_study(
            study_name=name,
            storage=_server(url) if url else _sqlite(directory / STUDY),
            sampler=sampler,
            directions=directions,
            load_if_exists=True,
        )
        if alone and not url:
            for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
                study.tell(trial.number, state=TrialState.FAIL)
        acquire_lock(held, shared=True)
        yield study


def check_storage(url: str) -> None:
    """Raise `UserError` if the server at `url` does not answer, or the driver for it is not installed."""
    with _answering(f"search.storage = {url}", url), sqlalchemy.create_engine(url, **_server_options()).connect():
        pass


@contextmanager
def _answering(where: str, url: str | None) -> Iterator[None]:
    try:
        if url:
            sqlalchemy.make_url(url)
    except (ArgumentError, ValueError):
        raise UserError(f"{where}: not the address of a database; write DATABASE+DRIVER://USER@HOST/NAME") from None
    try:
        yield
    except ImportError as error:
        if url is None:
            raise
        extra = url.partition("+")[0]
        raise UserError(f'{where}: its driver is missing ({error.name}); pip install "detnas[{extra}]"') from None
    except (StorageInternalError, SQLAlchemyError) as error:
        cause = error.__cause__ or error
        reason = str(getattr(cause, "orig", cause)).strip().partition("\n")[0]
        raise UserError(
            f"{where}: the study cannot be reached, read or written ({reason}); what is finished is kept: fix that, "
            "and the same command goes on"
        ) from None


def _sqlite(path: Path) -> RDBStorage:
    # Every transaction is a writing one from its beginning. Python's own begin with the first change: two workers
    # that have both read a trial as waiting would both make it theirs.
    options = {"connect_args": {"timeout": PATIENCE, "isolation_level": None}}
    storage = _storage(f"sqlite:///{path}", options)
    sqlalchemy.event.listen(storage.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return storage


def _server(url: str) -> RDBStorage:
    for _ in range(TRIES - 1):
        try:
            return _storage(url, _server_options())
        except OperationalError:
            raise
        except SQLAlchemyError:
            time.sleep(random.random())  # another worker was making the same tables
    return _storage(url, _server_options())


def _server_options() -> dict[str, Any]:
    return {"pool_pre_ping": True, "connect_args": {"connect_timeout": REACH}}


def _storage(url: str, options: dict[str, Any]) -> RDBStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # heartbeats, since Optuna 2.9
        return RDBStorage(url, engine_kwargs=options, heartbeat_interval=HEARTBEAT, grace_period=GRACE_SECONDS)
