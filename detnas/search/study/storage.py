"""Where the study of a search is kept: SQLite for the workers of one machine, a database server for several."""

import random
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.samplers import RandomSampler
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError

from detnas.rundir.layout import LOCK, STUDY
from detnas.search.study import optuna_internals
from detnas.utils.errors import UserError
from detnas.utils.files import acquire_lock, open_lock_file, try_lock

TRANSACTION_TIMEOUT = 120
"""Seconds that SQLite waits for another process's transaction."""
CONNECT_TIMEOUT = 10
"""Seconds in which a database server must answer."""
SERVER_OPTIONS = {"pool_pre_ping": True, "connect_args": {"connect_timeout": CONNECT_TIMEOUT}}
TRIES = 10
"""Attempts at making the tables, which several workers may do at the same time."""


@contextmanager
def open_study(
    directory: Path, url: str | None, name: str, directions: Sequence[StudyDirection], log: Callable[[str], None]
) -> Iterator[optuna.Study]:
    """Open the study `name` at `url`, or else in `directory` / study.db, until the block ends; make it if necessary.

    `directions` are those of its objectives. Running trials of processes that are gone are failed where that is known
    at once: in a study of `directory` that no other process has open. Raises `UserError` if the study cannot be opened,
    read or written.
    """
    where = f"search.storage = {url}" if url else str(directory / STUDY)
    with open_lock_file(directory / LOCK) as held, _explain_errors(where, url):
        alone = try_lock(held)
        if not alone:
            acquire_lock(held, log, shared=True)  # not before the first process has made the tables
        study = optuna.create_study(
            study_name=name,
            storage=_server(url) if url else _sqlite(directory / STUDY),
            sampler=RandomSampler(),  # never asked: workers add trials that detnas's samplers propose
            directions=directions,
            load_if_exists=True,
        )
        if alone and not url:
            for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
                study.tell(trial.number, state=TrialState.FAIL)
        acquire_lock(held, log, shared=True)
        yield study


def check_storage(url: str) -> None:
    """Raise `UserError` if the server at `url` does not answer, or the driver for it is not installed."""
    with _explain_errors(f"search.storage = {url}", url), sqlalchemy.create_engine(url, **SERVER_OPTIONS).connect():
        pass


@contextmanager
def _explain_errors(where: str, url: str | None) -> Iterator[None]:
    """Raise `UserError`, which begins with `where`, for what a storage may raise in the block."""
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
            "and the same command continues"
        ) from None


def _sqlite(path: Path) -> RDBStorage:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=TRANSACTION_TIMEOUT, isolation_level=None, check_same_thread=False)

    # The address only says that it is a file: Optuna takes it as text, in which ? and {} of a path mean something else.
    storage = _storage(f"sqlite:///{STUDY}", {"creator": connect})
    optuna_internals.begin_immediately(storage)
    return storage


def _server(url: str) -> RDBStorage:
    for _ in range(TRIES - 1):
        try:
            return _storage(url, SERVER_OPTIONS)
        except OperationalError:
            raise
        except SQLAlchemyError:
            time.sleep(random.random())  # another worker was making the same tables
    return _storage(url, SERVER_OPTIONS)


def _storage(url: str, options: dict[str, Any]) -> RDBStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # heartbeats, since Optuna 2.9
        interval, grace = optuna_internals.HEARTBEAT, optuna_internals.GRACE
        return RDBStorage(url, engine_kwargs=options, heartbeat_interval=interval, grace_period=grace)
