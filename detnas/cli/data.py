"""The commands on data sets, `detnas data`."""

from pathlib import Path
from typing import Annotated

import typer

from detnas.cli.options import DataChanges, print_line, print_lines

app = typer.Typer(help="Check a data set, or draw the embedded one.", no_args_is_help=True)


@app.command("check")
def check_data(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the detection data set.")],
    changes: DataChanges = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The drawing to write (.jpg, .png); runs/check-NAME.jpg by default."),
    ] = None,
) -> None:
    """Describe a data set and find its errors.

    In the format of COCO, VOC or YOLO. Every image is decoded, and some are drawn with their boxes. The exit status is
    2 if training could fail.
    """
    from detnas.config import DataSettings, change_data
    from detnas.data.check import check
    from detnas.data.drawing import legend
    from detnas.data.grid import choose_file, write_grid
    from detnas.utils.progress import Progress

    file = choose_file(directory, out)
    lines, data = check(directory, change_data(DataSettings(), changes or ()), Progress())
    print_lines(lines)
    if data is None:
        raise typer.Exit(2)
    if file is None:
        print_line("Not drawn, since this is the data folder: name a file elsewhere with --out.")
    else:
        write_grid(file, data)
        print_line(f"Drawn with boxes: {file}")
        print_lines(legend(data.train.categories))


@app.command("shapes")
def draw_shapes(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    train: Annotated[int, typer.Option(min=1, help="Number of training images.")] = 1200,
    val: Annotated[int, typer.Option(min=1, help="Number of validation images.")] = 300,
    size: Annotated[int, typer.Option(min=32, help="Side of the images in pixels.")] = 128,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the drawing.")] = 0,
) -> None:
    """Draw the embedded data set.

    Writes COCO files for detection, and an image folder for classification.
    """
    from detnas.config import ShapesSettings
    from detnas.data.shapes.write import write_shapes

    write_shapes(directory, ShapesSettings(train=train, val=val, size=size, seed=seed))
    print_line(f"{train} + {val} images in {directory}")
