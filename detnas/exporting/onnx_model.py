"""ONNX models: writing them, their metadata, and running them."""

import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError
from torch import Tensor, nn

from detnas.config.detector import read_settings
from detnas.config.section import Name
from detnas.utils.errors import UserError
from detnas.utils.json_text import parse_json

MOST_LETTERS = 10**8
"""Of the metadata of a file."""
ABOUT = "detnas"
"""The key of an exported file's metadata whose value is a JSON object that describes it."""


class About(BaseModel):
    """The metadata of an exported file, as far as they are believed: what its inputs are made by."""

    model_config = ConfigDict(strict=True, hide_input_in_errors=True)

    holds: Literal["detector", "raw detector", "backbone"]
    space: Name
    architecture: Annotated[str, Field(max_length=1000)]
    stages: Literal[1, 2] = 1
    detector: Annotated[
        Any, AfterValidator(lambda values: values and read_settings(values).model_dump(mode="json"))
    ] = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.holds == "raw detector" and self.detector is None:
            raise ValueError("detector is missing")
        return self


def onnx_model(
    network: nn.Module,
    examples: tuple[Tensor, ...],
    *,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    axes: Mapping[str, Mapping[int, str]] | None = None,
) -> bytes:
    """The ONNX model of a network in evaluation mode. Without `axes` its inputs have the shapes of `examples`; `axes`
    names those whose length varies, for inputs and outputs by name."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The newer exporter fails on torchvision's detectors, and takes ten times as long on what it can export: half a
        # minute for a network of 20 blocks. This one warns of data that it takes for constants; if that were wrong, the
        # check of the file would fail.
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
    """The packages that ONNX models need and that are missing."""
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
    options.log_severity_level = 3  # errors only: there are dozens of warnings about shapes
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def read_about(session: Any, name: str) -> dict[str, Any]:
    """The metadata of the file `name` that `session` runs. Raises `UserError` if it was not written by detnas."""
    text = session.get_modelmeta().custom_metadata_map.get(ABOUT)
    if text is None:
        raise UserError(f"{name}: has no metadata of detnas; name an ONNX file that `detnas export` wrote")
    try:
        about: Any = parse_json(text) if len(text) <= MOST_LETTERS else None
        believed = About.model_validate(about)
    except (ValueError, PydanticCustomError):
        raise UserError(
            f"{name}: the metadata are not those that detnas writes; name an ONNX file that `detnas export` wrote"
        ) from None
    return {**about, **believed.model_dump(exclude_unset=True)}
