"""The commands on weights files: evaluate, predict, export, import."""

from pathlib import Path
from typing import Annotated

import typer

from detnas.cli.options import DataChanges, DataFolder, Device, Ops, Weights, print_line, print_lines
from detnas.utils.errors import UserError

app = typer.Typer()


@app.command()
def evaluate(
    weights: Weights,
    data: DataFolder,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per batch.")] = 8,
    device: Device = "auto",
    changes: DataChanges = None,
    ops: Ops = None,
) -> None:
    """Evaluate a detector on the validation set of a folder.

    Prints COCO's twelve scores, VOC's two, and AP per class.
    """
    from detnas.inference import evaluate_weights
    from detnas.utils.progress import Progress

    lines = evaluate_weights(
        weights, data, changes or (), ops or (), batch_size=batch_size, device=device, progress=Progress()
    )
    print_lines(lines)


@app.command()
def predict(
    weights: Weights,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE…", help="Images, folders of images, or patterns such as 'in/*.jpg'.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder for the drawn images and the JSON files.")],
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Minimum score of the detections.")] = 0.3,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per batch; larger batches are faster on a GPU.")] = 1,
    device: Device = "auto",
    ops: Ops = None,
) -> None:
    """Detect objects on images and draw them.

    Also writes predictions.json, and coco.json for other tools.
    """
    from detnas.inference import predict_images
    from detnas.utils.progress import Progress

    lines = predict_images(
        weights, images, out, ops or (), threshold=threshold, batch_size=batch_size, device=device, progress=Progress()
    )
    print_lines(lines)


@app.command()
def export(
    weights: Annotated[
        Path,
        typer.Argument(
            metavar="WEIGHTS",
            help="A detector.safetensors, or a weights file of a backbone; with --what, a run directory.",
        ),
    ],
    format: Annotated[
        str,
        typer.Option(
            help="onnx: the whole detector. onnx-raw: backbone, feature pyramid and heads, without postprocessing. "
            "The backbone alone: onnx-backbone; torch, a program of torch.export; py, a Python file that needs only "
            "torch."
        ),
    ] = "onnx",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file to write; beside the weights by default.")
    ] = None,
    check: Annotated[
        list[Path] | None,
        typer.Option(metavar="IMAGE", help="An image, or folder of images, to check the export on; repeatable."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Check on images of this data folder; by default, on the run's own."),
    ] = None,
    ops: Ops = None,
    what: Annotated[
        str | None,
        typer.Option(
            metavar="STAGE",
            help="Instead, write the supernet of a run directory as supernet-pretrain or supernet-finetune left it, to "
            "one weights file, for pretraining.weights of other runs.",
        ),
    ] = None,
) -> None:
    """Export a detector or its backbone to other runtimes.

    A file is written only if its outputs on images equal those of the eager model. With --what, the supernet of a run
    is written for other runs.
    """
    if what is not None:
        if format != "onnx" or check or data or ops:
            raise UserError(f"--what {what}: takes no other option than --out; leave out the others")
        from detnas.run.publishing import export_supernet

        print_lines(export_supernet(weights, what, out))
        return
    from detnas.exporting.export import export

    export(weights, format, out, check or (), data, print_line, ops or ())


@app.command("import")
def import_(
    checkpoint: Annotated[
        Path,
        typer.Argument(metavar="CHECKPOINT", help="A checkpoint of the official code, or of an EfficientNet-Lite."),
    ],
    name: Annotated[
        str,
        typer.Option(
            "--as", metavar="NAME", help="Its network: detnas-fpn-300m, efficientnet-lite0, small-supernet, …"
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The weights file to write.")],
    shuffle: Annotated[
        str | None,
        typer.Option(help="even_odd or interleave, if the checkpoint splits channels differently than the release."),
    ] = None,
) -> None:
    """Convert weights that others trained to a weights file.

    Of the official release: of a backbone, a supernet or a whole detector. Of EfficientNet-Lite0 to -Lite4: with the
    names of efficientnet-lite-pytorch or of timm, as a checkpoint of PyTorch or a safetensors file.
    """
    from detnas.cli.import_weights import import_weights

    print_lines(import_weights(checkpoint, name, out, shuffle))
