"""The entry point of the command line. Nothing heavy is imported before a command needs it."""

import importlib
import sys
from typing import Annotated

import typer

from detnas.cli import data, info, runs, weights
from detnas.utils import signals
from detnas.utils.errors import UserError
from detnas.version import __version__

app = typer.Typer(
    help="Neural architecture search for object detectors.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # with rich, --help takes four times as long
)
for group in (runs, info, weights):
    app.add_typer(group.app)
app.add_typer(data.app, name="data")

RENAMED_OPTIONS = {"--rehearse": "--dry-run", "--batch": "--batch-size"}


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line. A `UserError` is printed as one line on standard error, with exit status 2."""
    try:
        importlib.import_module("detnas.utils.posix")  # refuses Windows, whichever the command
        for option in (argument.partition("=")[0] for argument in sys.argv[1:]):
            if option in RENAMED_OPTIONS:
                raise UserError(f"unknown option {option}; it is called {RENAMED_OPTIONS[option]} now")
        with signals.handle_signals():
            app()
    except UserError as error:
        typer.echo(f"detnas: {error}", err=True)
        sys.exit(2)
    except signals.StopRequested as stopped:
        typer.echo("detnas: stopped", err=True)
        sys.exit(stopped.exit_status)
