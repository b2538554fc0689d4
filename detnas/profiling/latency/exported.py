"""Latency of exported files under ONNX Runtime."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from detnas.exporting.onnx_model import missing, open_session, read_about
from detnas.exporting.postprocess import prepare
from detnas.profiling.latency.backends import describe_device, rounds
from detnas.utils.errors import UserError
from detnas.utils.files import is_file

IMAGE = (480, 640)
"""Height and width of the image."""
Inputs = dict[str, NDArray[Any]]


def bench_latency(file: Path) -> Iterator[str]:
    """Measure the latency of an exported ONNX file on the CPU, batch size 1, on a random image of size `IMAGE`.

    The median over the rounds of `rounds`, with torch's number of threads. Yields human-readable lines. Raises
    `UserError` for a file that `detnas export` did not write, and if ONNX Runtime is not installed.
    """
    if lacking := missing():
        raise UserError(f'{file}: {" and ".join(lacking)} not installed; pip install "detnas[onnx]"')
    if not is_file(file):
        raise UserError(f"{file}: no such file; name one that `detnas export --format onnx` wrote")
    try:
        session = open_session(str(file))
    except Exception as error:  # ONNX Runtime raises its own exceptions for invalid files
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{file}: not an ONNX model ({reason}); name a file of `detnas export --format onnx`") from None
    about = read_about(session, str(file))
    image = np.random.default_rng(0).integers(0, 256, (*IMAGE, 3), dtype=np.uint8)
    inputs = INPUTS[about["holds"]](image, about)
    times = []
    for is_measured in rounds():
        start = time.perf_counter()
        _run(session, inputs, file)
        if is_measured:
            times.append(1e3 * (time.perf_counter() - start))
    low, median, high = np.percentile(times, [25, 50, 75])
    shape = "x".join(str(side) for side in next(iter(inputs.values())).shape)
    yield f"{file}: {about['holds']} of {about['architecture']}, space {about['space']}"
    cpu = describe_device(torch.device("cpu"), torch.get_num_threads())
    yield f"ONNX Runtime on {cpu}; batch size 1, a random image of {IMAGE[1]} x {IMAGE[0]} pixels, input shape {shape}"
    yield f"{median:.3g} ms, the median of {len(times)} runs; half of them took {low:.3g} to {high:.3g} ms"


def _run(session: Any, inputs: Inputs, file: Path) -> None:
    try:
        session.run(None, inputs)
    except Exception as error:  # as above
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{file}: does not run on what its metadata say ({reason}); name a file of `detnas export --format onnx`"
        ) from None


INPUTS: dict[str, Callable[[NDArray[np.uint8], dict[str, Any]], Inputs]] = {
    "detector": lambda image, about: {"image": image},
    "raw detector": lambda image, about: prepare([image], about).inputs,
    "backbone": lambda image, about: {"images": image.transpose(2, 0, 1)[None].astype(np.float32) / 255},
}
"""Makes the inputs of a file, by what it contains."""
