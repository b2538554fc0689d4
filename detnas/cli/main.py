"""The entry point of the command line. It handles signals and errors before it imports anything else."""

import atexit
import errno
import importlib
import io
import shlex
import signal
import sys

from detnas.utils import signals
from detnas.utils.errors import UserError
from detnas.utils.text import printable

RENAMED_OPTIONS = {"--rehearse": "--dry-run", "--batch": "--batch-size"}
CONTINUED = ("run", "search", "rank", "retrain")
"""The commands that continue when they are given again."""
UNUSABLE = (errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG, errno.EPERM, errno.EROFS)
"""The system's errors that are about a path, wherever it is used first: no program can use it."""


def main() -> None:
    """Run the command line. A `UserError` is printed as one line on standard error, with exit status 2.

    If a command that can be continued is stopped, the line says how. The exit status is 0 then if a scheduler's SIGTERM
    stopped it, and otherwise that by which shells report a signal.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what the terminal's encoding lacks is printed as an escape
    try:
        with signals.handle_signals():
            importlib.import_module("detnas.utils.posix")  # refuses Windows, whichever the command
            for option in (argument.partition("=")[0] for argument in sys.argv[1:]):
                if option in RENAMED_OPTIONS:
                    raise UserError(f"unknown option {option}; it is called {RENAMED_OPTIONS[option]} now")
            importlib.import_module("detnas.cli.app").app()
    except UserError as error:
        _end(str(error), 2)
    except OSError as error:
        if error.errno not in UNUSABLE or error.filename is None:
            raise
        _end(str(UserError(f"{error.filename}: cannot be used ({error.strerror}); name another path, or change it")), 2)
    except signals.StopRequested as stopped:
        if sys.argv[1:2] and sys.argv[1] in CONTINUED and "--dry-run" not in sys.argv:
            command = shlex.join(["detnas", *sys.argv[1:]])
            status = 0 if stopped.signal == signal.SIGTERM else stopped.exit_status
            _end(f"stopped; finished work is saved; continue with: {command}", status)
        _end("stopped", stopped.exit_status)
    finally:
        atexit.register(signals.ignore_signals)  # the command is over, and what it said stands


def _end(message: str, status: int) -> None:
    print(f"detnas: {printable(message)}", file=sys.stderr)
    sys.exit(status)
