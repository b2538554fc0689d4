"""All that detnas uses of Optuna beyond its public interface, each with the reason for it.

Optuna's ask and tell let one process make a trial and run it. Workers that share a search need more: a trial that one
of them adds is run by whichever is free, and taken over from a process that was killed. Imports neither torch nor
Optuna, for those who only read where a search stands.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detnas.utils.files import SAYS_AFTER, real_path

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial, TrialState
    from sqlalchemy import Connection

HEARTBEAT = 20
"""Seconds between two heartbeats of a worker that evaluates a candidate."""
GRACE = 120
"""Seconds without a heartbeat after which a worker is taken for dead and its candidate given to another."""
BEGIN = "BEGIN IMMEDIATE"
FINISHED = "SELECT COUNT(*) FROM trials WHERE state = 'COMPLETE'"
RUNNING = """SELECT COUNT(*) FROM trials JOIN trial_heartbeats USING (trial_id)
WHERE state = 'RUNNING' AND heartbeat > datetime('now', ?)"""


def trial_id(trial: "FrozenTrial") -> int:
    """The identity of a trial in its storage, by which `add_trial` names the one that it added."""
    return trial._trial_id


def add_trial(study: "Study", trial: "FrozenTrial") -> int:
    """Add a trial and return its id. `Study.add_trial` does not say which trial it added."""
    return study._storage.create_new_trial(study._study_id, trial)


def set_trial_state(study: "Study", trial: "FrozenTrial", state: "TrialState") -> bool:
    """Change the state of a trial; False if another process made it running before.

    `Study.ask` takes whichever trial waits, and not a certain one.
    """
    return study._storage.set_trial_state_values(trial._trial_id, state)


def set_trial_attribute(study: "Study", trial: "FrozenTrial", name: str, value: Any) -> None:
    """Set a user attribute. The public `Trial.set_user_attr` needs a `Trial`, which only `Study.ask` makes."""
    study._storage.set_trial_user_attr(trial._trial_id, name, value)


def record_heartbeat(study: "Study", trial: "FrozenTrial") -> None:
    """Record that the process of a trial is alive, as `Study.optimize` does, which workers do not call.

    `optuna.storages.fail_stale_trials` gives up running trials whose last heartbeat is older than `GRACE`, and none
    that never had one.
    """
    study._storage.record_heartbeat(trial._trial_id)  # type: ignore[attr-defined]


def close_session(study: "Study") -> None:
    """Give back the calling thread's connection to the database, which it would hold until the process ends."""
    study._storage.remove_session()


def begin_immediately(storage: "RDBStorage", waiting: Callable[[], object]) -> None:
    """Let every transaction of an SQLite storage begin as a writing one.

    Python's own begin with the first change: two workers that read a trial as waiting would both claim it. `waiting` is
    called when another process has not ended its transaction for `SAYS_AFTER` seconds; after SQLite's own timeout it is
    an error.
    """
    import sqlalchemy

    def begin(connection: "Connection") -> None:
        ((timeout,),) = connection.exec_driver_sql("PRAGMA busy_timeout").fetchall()
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {round(1000 * SAYS_AFTER)}")
        try:
            # By the driver, whose error leaves SQLAlchemy's transaction as it is.
            connection.connection.cursor().execute(BEGIN)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            waiting()
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {timeout}")
            connection.exec_driver_sql(BEGIN)
        else:
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {timeout}")

    sqlalchemy.event.listen(storage.engine, "begin", begin)


def count_trials(path: Path) -> tuple[int, int] | None:
    """How many trials of the SQLite study at `path` are finished, and how many run; None if they cannot be read.

    Read from Optuna's tables: to open the study takes seconds for imports, and may change the file.
    """
    try:
        with closing(sqlite3.connect(f"{real_path(path).as_uri()}?mode=ro", uri=True, timeout=1)) as study:
            ((finished,),) = study.execute(FINISHED).fetchall()
            ((running,),) = study.execute(RUNNING, (f"-{GRACE} seconds",)).fetchall()
    except sqlite3.Error:
        return None
    return finished, running
