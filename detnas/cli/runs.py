"""The commands that start, continue and describe runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detnas.cli.options import (
    MovedData,
    OptionalDataFolder,
    RecipeChanges,
    RecipeName,
    RunDirectory,
    print_line,
    print_lines,
)
from detnas.utils.errors import UserError

if TYPE_CHECKING:  # a command imports what it needs
    from detnas.config import Recipe
    from detnas.utils.progress import Progress

app = typer.Typer()


@app.command()
def run(
    recipe: RecipeName,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The run directory; runs/NAME by default.")] = None,
    data: OptionalDataFolder = None,
    changes: RecipeChanges = None,
    time: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="How long the run shall take, for example 45m or 2h: measures the stages first, and fits the steps of "
            "the recipe to it.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only run a few iterations of every stage, and report what the whole costs."),
    ] = False,
) -> None:
    """Run the whole pipeline, or continue a run.

    The same command continues a run that was stopped. To use several processes or GPUs, start it with torchrun.
    """
    from detnas.distributed import comm
    from detnas.run.pipeline import run
    from detnas.utils.progress import Progress

    if dry_run and time:
        raise UserError(f"--time {time}: a dry run takes the time that it needs; leave out --time or --dry-run")
    if dry_run:
        _dry_run(recipe, out, data, changes or ())
        return
    with comm.process_group():
        progress = Progress(quiet=not comm.is_main_process())
        if time is None:
            run(recipe, out, data, changes or (), progress)
        else:
            fitted, directory = _fit(recipe, out, data, changes or (), time, progress)
            run(fitted, directory, data, (), progress)


def _fit(
    name: str, out: Path | None, data: Path | None, changes: Sequence[str], time: str, progress: "Progress"
) -> tuple["Recipe", Path]:
    """The recipe fitted to a time, and the run directory."""
    from detnas.config import load_recipe
    from detnas.distributed import comm
    from detnas.profiling.time_fit import fit_to_time
    from detnas.run.pipeline import run_directory
    from detnas.utils.progress import parse_duration

    seconds = parse_duration(time)
    if seconds is None:
        raise UserError(f"--time {time}: not a time; write for example 45m, 2h or 1h30m")
    if comm.world_size() > 1:
        raise UserError("--time: measures one process; start it without torchrun")
    recipe = load_recipe(name, changes)
    directory = run_directory(recipe, out)
    return fit_to_time(recipe, directory, data, seconds, progress), directory


def _dry_run(recipe: str, out: Path | None, data: Path | None, changes: Sequence[str]) -> None:
    from detnas.config import load_recipe
    from detnas.distributed import comm
    from detnas.profiling.dry_run import dry_run
    from detnas.utils.progress import Progress

    with comm.process_group():
        if out is not None:
            raise UserError(f"--out {out}: a dry run leaves no files; leave out --out or --dry-run")
        if comm.world_size() > 1:
            raise UserError("--dry-run: measures one process; start it without torchrun")
        dry_run(load_recipe(recipe, changes), data, Progress())


@app.command()
def search(
    directory: RunDirectory,
    join: Annotated[
        bool,
        typer.Option(
            "--join",
            help="Join the search as another worker, beside a `detnas run` that is searching or other workers. On "
            "another machine with a copy of DIR, search.storage must name a database that all workers reach.",
        ),
    ] = False,
    data: MovedData = None,
) -> None:
    """Run only the search of a run whose supernet is trained.

    Any number of workers can share a search, and join or leave at any time. Its Optuna study can be browsed by
    `optuna-dashboard sqlite:///DIR/search/study.db`, after `pip install optuna-dashboard`.
    """
    from detnas.distributed import comm
    from detnas.run.pipeline import search_run
    from detnas.utils.progress import Progress

    with comm.process_group():
        search_run(directory, Progress(quiet=not comm.is_main_process()), join, data)


@app.command()
def join(directory: RunDirectory, data: MovedData = None) -> None:
    """Help a run with its search and the trainings after it.

    On the same machine, or on one that shares DIR. Its supernet must be trained. With `workers: auto` in the recipe,
    `detnas run` starts such workers itself.
    """
    from detnas.distributed import comm
    from detnas.run.local_workers import end_with_parent
    from detnas.run.pipeline import join_run
    from detnas.utils.progress import Progress

    end_with_parent()
    with comm.process_group():
        join_run(directory, Progress(quiet=not comm.is_main_process()), data)


@app.command()
def rank(
    directory: RunDirectory,
    count: Annotated[int, typer.Option("--n", metavar="N", help="How many architectures to train standalone.")],
    data: MovedData = None,
) -> None:
    """Measure how well the supernet of a run ranks architectures.

    Trains N architectures standalone and correlates their scores with their fitness in the supernet. Several processes
    of this command can share the work.
    """
    from detnas.run.ranking import rank
    from detnas.utils.progress import Progress

    print_lines(rank(directory, count, Progress(), data))


@app.command()
def retrain(
    directory: RunDirectory,
    architecture: Annotated[
        str | None, typer.Argument(metavar="[ARCHITECTURE]", help='For example "2120 2112 33130031 3132".')
    ] = None,
    front: Annotated[
        int | None,
        typer.Option(
            "--front", metavar="N", help="Instead, N architectures of the front, spread evenly over its cost."
        ),
    ] = None,
    data: MovedData = None,
) -> None:
    """Train another architecture than the winner of a run.

    Or several of the front. They are trained standalone by the same schedule as the winner, and their weights are kept.
    """
    from detnas.distributed import comm
    from detnas.run.retraining import retrain, spread_over_front
    from detnas.spaces import Architecture
    from detnas.utils.progress import Progress

    if (architecture is None) == (front is None):
        raise UserError("retrain: give an ARCHITECTURE, or --front N")
    with comm.process_group():
        chosen = [Architecture.parse(architecture or "")] if front is None else spread_over_front(directory, front)
        retrain(directory, chosen, Progress(quiet=not comm.is_main_process()), data)


@app.command()
def report(directory: RunDirectory, data: MovedData = None) -> None:
    """Write the report of a run again, whether finished or not."""
    from detnas.run.page import write_page

    print_line(f"Report: {write_page(directory, print_line, data=data)}")


@app.command()
def status(
    directory: RunDirectory,
    watch: Annotated[bool, typer.Option("--watch", help="Update the table until the run ends, or Ctrl-C.")] = False,
) -> None:
    """Show the progress of a run.

    As a table on a terminal, otherwise in plain lines.
    """
    from rich.console import Console

    from detnas.cli.status_table import show
    from detnas.run.status import format_status

    console = Console()
    if console.is_terminal:
        show(directory, console, live=watch)
    elif watch:
        raise UserError("--watch: the output is not a terminal; leave out --watch for plain lines")
    else:
        print_lines(format_status(directory))
