"""Measures, checks and stores the latencies of a recipe's search space on this device."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from detnas.config import DetectorSettings, Recipe
from detnas.distributed.device import choose_device
from detnas.exporting.onnx_model import missing
from detnas.models.detectors.geometry import ImageTransform
from detnas.profiling.latency.backends import MAX_ROUNDS, MIN_ROUNDS, Backend, Eager, OnnxRuntime, describe_device
from detnas.profiling.latency.table import measure_table

IMAGE = (480, 640)
"""Height and width of an image. Latencies are those of the backbone at the size to which the detector resizes it."""


def profile_latency(recipe: Recipe, out: Path) -> Iterator[str]:
    """Measure the latencies of the recipe's space with every installed backend. Yields human-readable lines.

    Writes latency-SPACE-HxW-BACKEND.json for each backend to the folder `out`: the table, and how well its sums predict
    the latencies of whole networks.
    """
    space = recipe.search_space()
    device = choose_device(recipe.device)
    images = random_images(recipe.detector)
    height, width = images.shape[2:]
    yield (
        f"latency of space {space.name} at {height}x{width} pixels: an image of {IMAGE[1]} x {IMAGE[0]}, resized by "
        f"min_size {recipe.detector.min_size} and max_size {recipe.detector.max_size}, padded"
    )
    yield (
        f"batch size 1; medians of {MIN_ROUNDS} to {MAX_ROUNDS} rounds after one for warm-up; in a round every op of "
        "every block runs at its place in a network; equal blocks share a median"
    )
    backends: list[Backend] = [Eager(device)]
    if lacking := missing():
        yield f"onnxruntime: left out, {' and '.join(lacking)} not installed; pip install detnas[onnx]"
    else:
        backends.append(OnnxRuntime())
    for backend in backends:
        table, excess, check = measure_table(space, images.to(backend.device), backend)
        file = out / f"latency-{space.name}-{height}x{width}-{backend.name}.json"
        table.write(file, excess_us=excess, check=check.statistics())
        low, high = space.cost_table(latencies=table).extent("latency")
        device_text = describe_device(backend.device, backend.threads)
        yield f"{backend.name} on {device_text}: networks of {low / 1e3:.3g} to {high / 1e3:.3g} ms"
        yield (
            f"  {abs(excess):.1f} us {'subtracted from' if excess > 0 else 'added to'} every block, since networks "
            f"that run in pieces take {'longer' if excess > 0 else 'less'} than whole ones"
        )
        yield from (f"  {line}" for line in check.describe())
        yield f"  {file}: to use it in a search: --set budget.latencies={file} --set budget.latency_max=MILLISECONDS"


def random_images(settings: DetectorSettings) -> Tensor:
    """A batch of one random image, (1, 3, H, W) float32, of the size at which a detector's backbone receives it."""
    torch.manual_seed(0)
    batch, _ = ImageTransform(settings).eval()([torch.rand(3, *IMAGE)])
    images: Tensor = batch.tensors
    return images
