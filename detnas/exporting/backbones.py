"""Backbones as ONNX models, as programs of torch.export, and as plain Python."""

import io
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import torch
from torch import Tensor

from detnas.exporting.metadata import about_backbone
from detnas.exporting.onnx_model import ABOUT, onnx_model, open_session, with_about
from detnas.exporting.plain_python import definition
from detnas.models.backbone import Subnet
from detnas.models.weights import BackboneInfo, DetectorInfo
from detnas.utils.errors import UserError

EXAMPLE = (2, 3, 64, 96)
"""Shape of the images on which networks are traced; the check uses others."""
SMALLEST_SIDE = 32


@dataclass(frozen=True)
class BackboneModel:
    """An exported backbone."""

    files: dict[str, bytes]
    """Contents by suffix of the file name."""
    maps: Callable[[Tensor], Sequence[Tensor]]
    """Images (N, 3, H, W), normalized, -> one map a stage, computed by the exported files."""


def onnx_backbone(backbone: Subnet, info: BackboneInfo | DetectorInfo) -> BackboneModel:
    """From `images` (N, 3, H, W) float32, normalized, to `stride4`, `stride8`, `stride16` and `stride32`."""
    outputs = [f"stride{stride}" for stride in backbone.strides]
    axes = {name: {0: "batch", 2: f"height_{name}", 3: f"width_{name}"} for name in outputs}
    axes["images"] = {0: "batch", 2: "height", 3: "width"}
    model = onnx_model(backbone, (torch.rand(EXAMPLE),), inputs=["images"], outputs=outputs, axes=axes)
    data = with_about(model, {"holds": "backbone"} | about_backbone(info))
    session = open_session(data)
    return BackboneModel(
        {".onnx": data}, lambda images: [torch.from_numpy(x) for x in session.run(None, {"images": images.numpy()})]
    )


def torch_program(backbone: Subnet, info: BackboneInfo | DetectorInfo) -> BackboneModel:
    """What `torch.export.load` reads: from images (N, 3, H, W) float32, normalized, to the list of maps.

    Both sides must have more than `SMALLEST_SIDE` pixels: torch.export takes an axis of length one, which the last map
    has there, for a constant.
    """
    shapes = {"images": dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)}
    program = torch.export.export(backbone, (torch.rand(EXAMPLE),), dynamic_shapes=shapes)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights that share memory and are not on the CPU; these are
        torch.export.save(program, file, extra_files={ABOUT: json.dumps(about_backbone(info))})
    file.seek(0)
    network: Callable[[Tensor], Sequence[Tensor]] = torch.export.load(file).module()

    def maps(images: Tensor) -> Sequence[Tensor]:
        if min(images.shape[2:]) <= SMALLEST_SIDE:
            raise UserError(
                f"--format torch: a program of torch.export takes no images of {images.shape[3]} x {images.shape[2]} "
                f"pixels; check on images that as the network sees them have sides above {SMALLEST_SIDE}"
            )
        return network(images)

    return BackboneModel({".pt2": file.getvalue()}, maps)


def python_backbone(backbone: Subnet, info: BackboneInfo | DetectorInfo) -> BackboneModel:
    """A Python file that defines the network and needs only torch, and its state dict in a file beside it."""
    weights = io.BytesIO()
    torch.save(backbone.state_dict(), weights)
    files = {".pt": weights.getvalue(), ".py": definition(info).encode()}
    return BackboneModel(files, _imported(files))


def _imported(files: dict[str, bytes]) -> Callable[[Tensor], Sequence[Tensor]]:
    with tempfile.TemporaryDirectory() as folder:
        for suffix, data in files.items():
            (Path(folder) / f"backbone{suffix}").write_bytes(data)
        spec = spec_from_file_location("exported_backbone", Path(folder) / "backbone.py")
        assert spec is not None and spec.loader is not None
        module = module_from_spec(spec)
        sys.modules[spec.name] = module  # where dataclasses look for it
        try:
            spec.loader.exec_module(module)
            network: Callable[[Tensor], Sequence[Tensor]] = module.load()
        finally:
            del sys.modules[spec.name]
    return network
