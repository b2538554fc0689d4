"""Where the study of a search is kept: SQLite for the workers of one machine, a database server for several."""

import os
import random
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
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
from detnas.utils.files import acquire_lock, open_lock_file, try_lock, waits_for

TRANSACTION_TIMEOUT = 120
"""Seconds that SQLite waits for another process's transaction."""
CONNECT_TIMEOUT = 10
"""Seconds in which a database server must answer."""
SERVER_OPTIONS = {"pool_pre_ping": True, "connect_args": {"connect_timeout": CONNECT_TIMEOUT}}
TEMPORARY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR)
"""Errors that are not the file's."""
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
        with nullcontext() if url else explain_damage(directory / STUDY):
            if alone and not url:
                _check_file(directory / STUDY)
            study = optuna.create_study(
                study_name=name,
                storage=_server(url) if url else _sqlite(directory / STUDY, log),
                sampler=RandomSampler(),  # never asked: workers add trials that detnas's samplers propose
                directions=directions,
                load_if_exists=True,
            )
            if alone and not url:
                for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
                    study.tell(trial.number, state=TrialState.FAIL)
        acquire_lock(held, log, shared=True)
        yield study


@contextmanager
def explain_damage(path: Path) -> Iterator[None]:
    """Raise `UserError` for whatever Optuna may raise in the block if the SQLite study at `path` is damaged."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if _sqlite_code(error) in TEMPORARY or isinstance(error, OSError):
            raise
        raise UserError(
            f"{path}: damaged, or of another version of Optuna ({_reason(error)}); delete it, and the same command "
            "evaluates the candidates again"
        ) from None


def _check_file(path: Path) -> None:
    """Raise `sqlite3.DatabaseError` if the pages of a database do not fit together."""
    if not os.path.lexists(path):
        return
    with closing(sqlite3.connect(path, timeout=TRANSACTION_TIMEOUT)) as study:
        ((found,),) = study.execute("PRAGMA integrity_check(1)").fetchall()
    if found != "ok":
        raise sqlite3.DatabaseError(found)


def _sqlite_code(error: BaseException | None) -> int | None:
    """The primary result code of the SQLite error that `error` is, or that caused it; None if there is none."""
    while error is not None and not isinstance(error, sqlite3.Error):
        error = error.__cause__ or error.__context__
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _reason(error: BaseException) -> str:
    """The database's own words."""
    cause = error.__cause__ or error
    return str(getattr(cause, "orig", cause)).strip().partition("\n")[0] or type(error).__name__


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
        held = "another process holds it in a transaction; " if _sqlite_code(error) == sqlite3.SQLITE_BUSY else ""
        raise UserError(
            f"{where}: the study cannot be reached, read or written ({held}{_reason(error)}); what is finished is "
            "kept: fix that, and the same command continues"
        ) from None


def _sqlite(path: Path, log: Callable[[str], object]) -> RDBStorage:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=TRANSACTION_TIMEOUT, isolation_level=None, check_same_thread=False)

    # The address only says that it is a file: Optuna takes it as text, in which ? and {} of a path mean something else.
    storage = _storage(f"sqlite:///{STUDY}", {"creator": connect})
    optuna_internals.begin_immediately(storage, lambda: log(waits_for(path, "POSIX")))
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
