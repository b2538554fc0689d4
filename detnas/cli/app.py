"""All commands as one Typer application. Nothing heavy is imported before a command needs it."""

from typing import Annotated

import typer

from detnas.cli import data, info, runs, weights
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


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit
