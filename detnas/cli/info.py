"""The commands that print facts: about a recipe, the published networks, an exported file, this machine."""

from pathlib import Path
from typing import Annotated

import typer

from detnas.cli.options import RecipeChanges, RecipeName, print_lines
from detnas.utils.errors import UserError

app = typer.Typer()


@app.command()
def profile(
    recipe: RecipeName,
    latency: Annotated[
        bool,
        typer.Option(
            "--latency",
            help="Instead, measure the latency of every op of every block on this device, and of the detector around "
            "them if budget.of says so, with PyTorch and (if installed) ONNX Runtime, and write the tables for "
            "budget.latencies.",
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder for the tables; the current folder by default.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A data set whose images and categories say what the recipe leaves open. Without it, images are 4:3 "
            "and there are 20 categories.",
        ),
    ] = None,
    changes: RecipeChanges = None,
) -> None:
    """Show what a recipe searches and how long it will take.

    Trains nothing. For measured times and memory, see `detnas run --dry-run`.
    """
    from detnas.config import load_recipe
    from detnas.profiling.profile import describe

    if out is not None and not latency:
        raise UserError(f"--out {out}: only latency tables are written; add --latency or leave out --out")
    known = load_recipe(recipe, changes or ())
    if data is not None:
        from detnas.data.splits import open_data
        from detnas.run.auto import fit_auto

        known = fit_auto(known, open_data(data, known.data, known.seed).train)
    if latency:
        from detnas.profiling.latency.profile import profile_latency

        print_lines(profile_latency(known, out or Path()))
    else:
        print_lines(describe(known))


@app.command("bench-latency")
def bench_latency(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An ONNX file that `detnas export` wrote.")],
) -> None:
    """Measure the latency of an exported ONNX file on this CPU.

    With ONNX Runtime, batch size 1.
    """
    from detnas.profiling.latency.exported import bench_latency

    print_lines(bench_latency(file))


@app.command()
def models() -> None:
    """List the published networks and their costs.

    Their names can be used for `baselines` in a recipe and in `detnas.create_backbone`.
    """
    from detnas.cli.list_models import describe

    print_lines(describe())


@app.command()
def doctor() -> None:
    """Check this machine: versions, CPU, GPUs, disk space."""
    from detnas.cli.doctor import describe

    print_lines(describe())
