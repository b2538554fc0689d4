"""Exports the content of a weights file. Only what has passed the check is written."""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from detnas.config import DataSettings
from detnas.config.file_data import data_of_file
from detnas.data.decoding import read_size
from detnas.data.detection import DetectionSet
from detnas.data.find_images import find_images
from detnas.data.images import check_sizes
from detnas.data.run_data import find_run_directory, reopen_run_data
from detnas.data.splits import open_validation
from detnas.exporting.backbones import BackboneModel, onnx_backbone, python_backbone, torch_program
from detnas.exporting.check import Image, check_backbone, check_detector, input_settings
from detnas.exporting.detectors import DetectorModel, raw_detector, whole_detector
from detnas.exporting.onnx_model import missing
from detnas.models.backbone import Subnet, find_backbone
from detnas.models.detectors.build import Detector
from detnas.models.weights import BackboneInfo, DetectorInfo, load_detector, load_weights
from detnas.utils.errors import UserError, suggestion
from detnas.utils.files import is_folder, write_file

CHECKED = 8
"""The number of images of a data set on which an export is checked."""


@dataclass(frozen=True)
class Format:
    """A format to export to, of the whole detector or of its backbone."""

    file: str
    """The default file name; other names must have the same suffix."""
    content: str
    """What the file contains, human-readable."""
    of_detector: Callable[[Detector, DetectorInfo], DetectorModel] | None = None
    of_backbone: Callable[[Subnet, BackboneInfo | DetectorInfo], BackboneModel] | None = None


FORMATS = {
    "onnx": Format(
        "detector.onnx",
        "image (height, width, 3) uint8 RGB of any size -> boxes, scores, labels",
        of_detector=whole_detector,
    ),
    "onnx-raw": Format(
        "detector-raw.onnx",
        "backbone, pyramid and heads; before and after it run detnas/exporting/postprocess.py",
        of_detector=raw_detector,
    ),
    "onnx-backbone": Format(
        "backbone.onnx", "images (N, 3, H, W) float32, normalized -> four maps", of_backbone=onnx_backbone
    ),
    "torch": Format(
        "backbone.pt2",
        "for torch.export.load: images (N, 3, H, W) float32, normalized -> list of four maps",
        of_backbone=torch_program,
    ),
    "py": Format(
        "backbone.py",
        "defines the backbone and needs torch alone; its weights are in the .pt file beside it",
        of_backbone=python_backbone,
    ),
}


def export(
    weights: str | Path,
    format: str = "onnx",
    out: str | Path | None = None,
    check: Sequence[str | Path] = (),
    data: str | Path | None = None,
    log: Callable[[str], object] = lambda line: None,
    ops: Collection[str] = (),
) -> Path:
    """Write the content of a weights file in another format. Returns the file: `out`, or its default beside `weights`.

    `format` is one of "onnx" and "onnx-raw" (of a detector), "onnx-backbone", "torch" and "py" (of its backbone, or of
    a backbone's own file): see `detnas export --help`.

    Before it is written, the export is compared with the eager model on the images `check`, which may be folders, or on
    validation images of the folder `data`; without either, on those of the run in whose directory the weights are.
    `log` is called with lines on what was done. `ops` names the custom ops, as `package.module:Class`, that may be
    imported for the file: files are data.

    Raises `UserError` if the file does not hold what the format needs, if there are no images, if a package is not
    installed, or if the export does not give the eager model's boxes within 0.1 pixel, its scores within 0.001 and its
    maps within 1e-4 of their largest value.
    """
    weights = Path(weights)
    if format not in FORMATS:
        raise UserError(f"--format {format}: unknown; {suggestion(format, FORMATS)}")
    chosen = FORMATS[format]
    out = _checked_place(Path(out) if out else weights.with_name(chosen.file), chosen)
    if out.suffix == ".onnx" and (lacking := missing()):
        raise UserError(f'--format {format}: {" and ".join(lacking)} not installed; pip install "detnas[onnx]"')
    made, line = _made(weights, chosen, [Path(one) for one in check], Path(data) if data else None, ops)
    try:
        for suffix, content in made.files.items():
            write_file(out.with_suffix(suffix), lambda file, content=content: file.write(content))  # type: ignore[misc]
    except UserError:
        for suffix in made.files:
            with suppress(OSError):  # one without the other is of no use
                out.with_suffix(suffix).unlink()
        raise
    log(f"{out}: {chosen.content}")
    log(f"  {line}")
    return out


def _made(
    weights: Path, chosen: Format, check: Sequence[Path], data: Path | None, ops: Collection[str]
) -> tuple[DetectorModel | BackboneModel, str]:
    """The export, and the line of its check."""
    if chosen.of_detector:
        detector, about = load_detector(weights, ops)
        images = _images(weights, about, check, data)
        model = chosen.of_detector(detector, about)
        return model, check_detector(detector, about, model, images)
    assert chosen.of_backbone is not None
    loaded, info = load_weights(weights, ops)
    backbone = find_backbone(loaded)
    if not isinstance(backbone, Subnet):
        raise UserError(f"{weights}: holds a supernet, not a single network; name the file of a single network")
    images = _images(weights, info, check, data)
    backbone.to(memory_format=torch.channels_last)
    part = chosen.of_backbone(backbone, info)
    return part, check_backbone(backbone, info, part, images)


def _checked_place(out: Path, chosen: Format) -> Path:
    suffix = Path(chosen.file).suffix
    if out.suffix != suffix:
        raise UserError(f"--out {out}: files of this format end in {suffix}; name another, such as {chosen.file}")
    if is_folder(out):
        raise UserError(f"--out {out}: is a folder; name a file, such as {out / chosen.file}")
    return out


def _images(weights: Path, info: BackboneInfo | DetectorInfo, check: Sequence[Path], data: Path | None) -> list[Image]:
    """The images to check on: those in `check`, or some of a validation set. Something is left of each when resized."""
    images = _find_images(weights, info, check, data)
    check_sizes([one.file for one in images], np.array([one.size for one in images]), input_settings(info).max_size)
    return images


def _find_images(
    weights: Path, info: BackboneInfo | DetectorInfo, check: Sequence[Path], data: Path | None
) -> list[Image]:
    if check and data:
        raise UserError(f"--data {data}: --check names the images to check on already; leave out one of the two")
    if check:
        return [Image(file, read_size(file)) for file in find_images(check)]
    val = _validation(weights, info, data)
    some = np.unique(np.linspace(0, len(val) - 1, CHECKED).round().astype(int)).tolist()
    return [Image(val.files[index], (int(val.sizes[index, 0]), int(val.sizes[index, 1]))) for index in some]


def _validation(weights: Path, info: BackboneInfo | DetectorInfo, data: Path | None) -> DetectionSet:
    """The validation set in the folder `data`, or else of the run in whose directory the weights are."""
    directory = find_run_directory(weights)
    if data is None and directory is None:
        raise UserError(
            f"{weights}: is not in a run directory, with whose images the export could be checked; name images by "
            "--check IMAGE, or a data folder by --data DIR"
        )
    if directory is not None:
        try:
            return reopen_run_data(directory, data).val
        except UserError:
            if data is None:
                raise  # else it is another data set, whose images will do
    assert data is not None
    settings, seed = DataSettings(), 0
    if isinstance(info, DetectorInfo):
        settings = data_of_file(weights, info.data, remedy="name images by --check IMAGE instead")
        seed = info.seed
    return open_validation(data, settings, seed)
