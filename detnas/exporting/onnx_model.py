"""ONNX models: how networks are written as such, what they say about themselves, and how they are run."""

import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from detnas.utils.errors import UserError

ABOUT = "detnas"
"""The key of an exported file's metadata under which a JSON object says what it is."""

Axes = Mapping[str, Mapping[int, str]]
"""Of inputs and outputs by name: which axes may have another length, and what they are called."""


def onnx_model(
    network: nn.Module,
    examples: tuple[Tensor, ...],
    *,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    axes: Axes | None = None,
) -> bytes:
    """The ONNX model of a network in evaluation mode. Without `axes` its inputs have the shapes of `examples`."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The exporter that came after it fails on torchvision's detectors, and takes ten times as long on what it can
        # do: half a minute for a network of 20 blocks. What this one warns of, data that it takes for constants, would
        # show when the file is checked.
        warnings.simplefilter("ignore")
        file = Path(folder) / "network.onnx"
        torch.onnx.export(
            network,
            examples,
            file,
            dynamo=False,
            input_names=list(inputs) or None,
            output_names=list(outputs) or None,
            dynamic_axes=axes,
        )
        return file.read_bytes()


def missing() -> list[str]:
    """The packages that ONNX models need and that are not installed."""
    return [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]


def with_about(model: bytes, about: Mapping[str, Any]) -> bytes:
    """The model with `about` in its metadata."""
    import onnx

    tree = onnx.load_model_from_string(model)
    tree.metadata_props.add(key=ABOUT, value=json.dumps(about))
    return bytes(tree.SerializeToString())


def open_session(model: bytes | str) -> Any:
    """ONNX Runtime's session for a model or a file, on the CPU with as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors; of the exporter's shapes it warns by the dozen
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def read_about(session: Any, name: str) -> dict[str, Any]:
    """What the file `name` that `session` runs says about itself. Raises `UserError` if it is not ours."""
    text = session.get_modelmeta().custom_metadata_map.get(ABOUT)
    if text is None:
        raise UserError(f"{name}: says nothing of detnas; name an ONNX file that `detnas export` wrote")
    about: dict[str, Any] = json.loads(text)
    return about
