"""Arguments, options and output that several commands share."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from detnas.utils.text import printable


def _recipe_names() -> list[str]:
    from detnas.config import recipe_names

    return recipe_names()


def print_line(line: str) -> None:
    """Print a line; what a terminal would obey is printed as an escape."""
    print(printable(line))  # not typer.echo, which writes UTF-8 to terminals that cannot show it


def print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print_line(line)


RunDirectory = Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")]
RecipeName = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A recipe by name, or a YAML file.", autocompletion=_recipe_names)
]
RecipeChanges = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a field of the recipe; repeatable.")
]
DataChanges = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set a data field as in a recipe: data.val=FILE; repeatable."),
]
_DATA_FOLDER = typer.Option("--data", metavar="DIR", help="The folder of the detection data set.")
DataFolder = Annotated[Path, _DATA_FOLDER]
OptionalDataFolder = Annotated[Path | None, _DATA_FOLDER]
MovedData = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Where the run's data set is now, if it was moved; it is remembered."),
]
Weights = Annotated[Path, typer.Argument(metavar="WEIGHTS", help="A detector.safetensors.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Ops = Annotated[
    list[str] | None,
    typer.Option("--op", metavar="MODULE:CLASS", help="A custom op that WEIGHTS is allowed to import; repeatable."),
]
