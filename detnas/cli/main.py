"""The commands. Nothing heavy is imported before a command needs it."""

import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from detnas.cli import data
from detnas.utils import signals
from detnas.utils.errors import UserError
from detnas.version import __version__

app = typer.Typer(
    help="Neural architecture search for object detectors.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # with rich, --help takes four times as long
)


def _recipe_names() -> list[str]:
    """For shells that complete words."""
    from detnas.config import recipe_names

    return recipe_names()


app.add_typer(data.app, name="data")

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")]
RecipeName = Annotated[
    str,
    typer.Argument(metavar="RECIPE", help="A recipe by name, or a YAML file.", autocompletion=_recipe_names),
]
DataFolder = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="The folder of the detection data set.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a field of the recipe; repeatable.")
]
Ops = Annotated[
    list[str] | None,
    typer.Option("--op", metavar="MODULE:CLASS", help="An op of yours that WEIGHTS may have imported; repeatable."),
]
Weights = Annotated[Path, typer.Argument(metavar="WEIGHTS", help="A detector.safetensors.")]


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Say the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def run(
    recipe: RecipeName,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Run directory; runs/NAME if not given.")] = None,
    data: DataFolder = None,
    changes: Changes = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Walk every stage for a few iterations only, and say what all will take.")
    ] = False,
) -> None:
    """Run the whole pipeline, or go on where it stopped. Several processes share it if torchrun starts them."""
    from detnas.distributed import comm
    from detnas.run.pipeline import run
    from detnas.utils.progress import Progress

    if dry_run:
        _rehearse(recipe, out, data, changes or ())
        return
    with _going_on_later(), comm.process_group():
        run(recipe, out, data, changes or (), Progress(quiet=not comm.is_main_process()))


def _rehearse(recipe: str, out: Path | None, data: Path | None, changes: Sequence[str]) -> None:
    from detnas.config import load_recipe
    from detnas.distributed import comm
    from detnas.profiling import dry_run
    from detnas.utils.progress import Progress

    with comm.process_group():
        if out is not None:
            raise UserError(f"--out {out}: a dry run leaves nothing behind; leave out --out or --dry-run")
        if comm.world_size() > 1:
            raise UserError("--dry-run: measures one process; start it without torchrun")
        dry_run.dry_run(load_recipe(recipe, changes), data, Progress())


@app.command()
def search(
    directory: Directory,
    join: Annotated[
        bool,
        typer.Option(
            "--join",
            help="Be one of several workers: beside a `detnas run` that searches, or others like this one. On other "
            "machines with a copy of DIR, if search.storage names a database that all of them reach.",
        ),
    ] = False,
) -> None:
    """The search stage alone, of a run whose supernet is trained. Any number of workers may share it, come and go.

    To look into its study: `pip install optuna-dashboard`, then `optuna-dashboard sqlite:///DIR/search/study.db`.
    """
    from detnas.distributed import comm
    from detnas.run.pipeline import search_run
    from detnas.utils.progress import Progress

    with _going_on_later(), comm.process_group():
        search_run(directory, Progress(quiet=not comm.is_main_process()), join)


@app.command()
def rank(
    directory: Directory,
    count: Annotated[int, typer.Option("--n", metavar="N", help="Architectures to train alone.")],
) -> None:
    """How well the supernet of a run ranks architectures.

    Trains some of them alone, and holds that against the supernet's fitness. Several processes may share the work.
    """
    from detnas.run.ranking import rank
    from detnas.utils.progress import Progress

    with _going_on_later():
        for line in rank(directory, count, Progress()):
            typer.echo(line)


@app.command()
def retrain(
    directory: Directory,
    architecture: Annotated[str, typer.Argument(metavar="ARCHITECTURE", help='As "2120 2112 33130031 3132".')],
) -> None:
    """Train another architecture than the winner of a run.

    One of its front, say, by the same schedule. Leaves its weights.
    """
    from detnas.distributed import comm
    from detnas.run.retraining import retrain
    from detnas.utils.progress import Progress

    with _going_on_later(), comm.process_group():
        retrain(directory, architecture, Progress(quiet=not comm.is_main_process()))


@app.command()
def report(directory: Directory) -> None:
    """Write the page of a run again; it may still be under way."""
    from detnas.run.pipeline import write_page

    typer.echo(f"Report: {write_page(directory)}")


@app.command()
def status(
    directory: Directory,
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep the table up to date until the run ends, or Ctrl-C.")
    ] = False,
) -> None:
    """Where a run stands. A table on a terminal, plain lines elsewhere."""
    from rich.console import Console

    from detnas.cli.status_table import show
    from detnas.run.status import describe

    console = Console()
    if console.is_terminal:
        show(directory, console, live=watch)
    elif watch:
        raise UserError("--watch: the output is no terminal; leave it out for plain lines")
    else:
        for line in describe(directory):
            typer.echo(line)


@app.command()
def profile(
    recipe: RecipeName,
    latency: Annotated[
        bool,
        typer.Option(
            "--latency",
            help="Instead, time every op of every block on this device, by PyTorch and by ONNX Runtime where it is "
            "installed; leaves tables for budget.latencies.",
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the tables go; the current folder if not given.")
    ] = None,
    changes: Changes = None,
) -> None:
    """What a recipe will search, and about how long it takes. Trains nothing."""
    from detnas.config import load_recipe
    from detnas.profiling.profile import describe

    if latency:
        from detnas.profiling.latency.profile import profile_latency

        lines = profile_latency(load_recipe(recipe, changes or ()), out or Path())
    elif out is not None:
        raise UserError(f"--out {out}: only tables of latencies are written; add --latency or leave out --out")
    else:
        lines = describe(load_recipe(recipe, changes or ()))
    for line in lines:
        typer.echo(line)


@app.command()
def models() -> None:
    """The published networks by name, and what they cost.

    The names are for `baselines` in a recipe, and for `detnas.create_backbone`.
    """
    from detnas.cli.list_models import describe

    for line in describe():
        typer.echo(line)


@app.command()
def evaluate(
    weights: Weights,
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="The folder of the detection data set.")],
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 8,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a data field of the run: data.val=FILE; repeatable."),
    ] = None,
    ops: Ops = None,
) -> None:
    """Scores of a detector on the validation set of a folder. COCO's twelve numbers, VOC's two, and AP by class."""
    from detnas.inference import evaluate_weights
    from detnas.utils.progress import Progress

    lines = evaluate_weights(
        weights, data, changes or (), ops or (), batch_size=batch_size, device=device, progress=Progress()
    )
    for line in lines:
        typer.echo(line)


@app.command()
def predict(
    weights: Weights,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE…", help="Images, folders of them, or patterns such as 'in/*.jpg'.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the drawn images and the JSON files go.")],
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Lowest score shown.")] = 0.3,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time; more are faster on a GPU.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    ops: Ops = None,
) -> None:
    """Detect on images, and draw boxes, names and scores.

    Beside them it writes predictions.json, and coco.json for tools.
    """
    from detnas.inference import predict_images
    from detnas.utils.progress import Progress

    lines = predict_images(
        weights, images, out, ops or (), threshold=threshold, batch_size=batch_size, device=device, progress=Progress()
    )
    for line in lines:
        typer.echo(line)


@app.command()
def export(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="A detector.safetensors, or a backbone's file.")],
    format: Annotated[
        str,
        typer.Option(
            help="onnx: the whole detector. onnx-raw: backbone, pyramid and heads. Of the backbone alone: "
            "onnx-backbone; torch, a program of torch.export; py, a Python file that needs torch alone."
        ),
    ] = "onnx",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file to write; beside the weights if not given.")
    ] = None,
    check: Annotated[
        list[Path] | None,
        typer.Option(metavar="IMAGE", help="Image, or folder of them, to check the export on; repeatable."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Check on images of this data folder; the run's own if neither is given."),
    ] = None,
    ops: Ops = None,
) -> None:
    """Write a detector or its backbone for other runtimes.

    Nothing is written that has not given on images what the eager model gives.
    """
    from detnas.exporting.export import export

    export(weights, format, out, check or (), data, typer.echo, ops or ())


@app.command("bench-latency")
def bench_latency(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An ONNX file that `detnas export` wrote.")],
) -> None:
    """How long an exported file takes on this machine's CPU. Under ONNX Runtime."""
    from detnas.profiling.latency.exported import bench_latency

    for line in bench_latency(file):
        typer.echo(line)


@app.command("import")
def import_(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A checkpoint of the official code.")],
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="Which network it is, as detnas-fpn-300m.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The weights file to write.")],
    shuffle: Annotated[
        str | None,
        typer.Option(help="even_odd or interleave, where the checkpoint's channels are not split as the release's."),
    ] = None,
) -> None:
    """Weights of the official release into a weights file.

    They may be a backbone's, a supernet's or a whole detector's.
    """
    from detnas.cli.import_weights import import_weights

    for line in import_weights(checkpoint, name, out, shuffle):
        typer.echo(line)


@app.command()
def doctor() -> None:
    """What this machine has, and whether anything is in the way."""
    from detnas.cli.doctor import describe

    for line in describe():
        typer.echo(line)


@contextmanager
def _going_on_later() -> Iterator[None]:
    """Of a command that goes on where it was stopped: says how. After a scheduler's warning all is well, status 0."""
    try:
        yield
    except signals.StopRequested as stopped:
        typer.echo(
            f"detnas: stopped; what is done is saved, go on by: {shlex.join(['detnas', *sys.argv[1:]])}", err=True
        )
        raise typer.Exit(0 if stopped.signal == signal.SIGTERM else _status(stopped)) from None


def _status(stopped: signals.StopRequested) -> int:
    """As shells have it."""
    return 128 + stopped.signal


RENAMED_OPTIONS = {"--rehearse": "--dry-run", "--batch": "--batch-size"}
"""Options of earlier versions, and what they are called now."""


def _refuse_old_options(arguments: Sequence[str]) -> None:
    for argument in arguments:
        option = argument.partition("=")[0]
        if option in RENAMED_OPTIONS:
            raise UserError(f"unknown option {option}; it is called {RENAMED_OPTIONS[option]} now")


def main() -> None:
    """Entry point: what the user must mend is one line on standard error, and exit status 2."""
    try:
        _refuse_old_options(sys.argv[1:])
        with signals.handle_signals():
            app()
    except UserError as error:
        typer.echo(f"detnas: {error}", err=True)
        sys.exit(2)
    except signals.StopRequested as stopped:
        typer.echo("detnas: stopped", err=True)
        sys.exit(_status(stopped))
