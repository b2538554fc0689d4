"""Latencies of a recipe's space on this device, measured, kept and checked."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from detnas.config import DetectorSettings, Recipe
from detnas.distributed.device import choose_device
from detnas.exporting.onnx_model import missing
from detnas.models.detectors.geometry import ImageTransform
from detnas.profiling.latency.backends import LEAST_ROUNDS, MOST_ROUNDS, Backend, Eager, OnnxRuntime, named
from detnas.profiling.latency.table import measure

IMAGE = (480, 640)
"""Height and width of the image whose size at the detector's backbone is timed."""


def profile_latency(recipe: Recipe, out: Path) -> Iterator[str]:
    """Measure the recipe's space by every backend that is installed; lines for people.

    Leaves latency-SPACE-HxW-BACKEND.json for each in the folder `out`: the table, and how far its sums are from whole
    networks.
    """
    space = recipe.search_space()
    on = choose_device(recipe.device)
    images = random_images(recipe.detector)
    height, width = images.shape[2:]
    yield (
        f"latency of space {space.name} at {height}x{width} pixels: an image of {IMAGE[1]} x {IMAGE[0]} under "
        f"min_size {recipe.detector.min_size}, max_size {recipe.detector.max_size}, padded"
    )
    yield (
        f"batch 1; medians of {LEAST_ROUNDS} to {MOST_ROUNDS} rounds after one to warm up, in which every op of every "
        "block runs in its place in a network; equal blocks share theirs"
    )
    backends: list[Backend] = [Eager(on)]
    if lacking := missing():
        yield f"onnxruntime: left out, {' and '.join(lacking)} not installed; pip install detnas[onnx]"
    else:
        backends.append(OnnxRuntime())
    for backend in backends:
        given = images.to(backend.device)
        table, excess, checked = measure(space, given, backend)
        file = out / f"latency-{space.name}-{height}x{width}-{backend.name}.json"
        table.write(file, excess_us=excess, check=checked.figures())
        low, high = space.cost_table(latencies=table).extent("latency")
        yield f"{backend.name} on {named(backend)}: networks of {low / 1e3:.3g} to {high / 1e3:.3g} ms"
        yield (
            f"  {abs(excess):.1f} us {'taken off' if excess > 0 else 'added to'} every block, by which networks run in "
            f"pieces take {'longer' if excess > 0 else 'less'} than as wholes"
        )
        yield from (f"  {line}" for line in checked.lines())
        yield f"  {file}: to search by it, --set budget.latencies={file} --set budget.latency_max=MILLISECONDS"


def random_images(settings: DetectorSettings) -> Tensor:
    """A batch of one, (1, 3, H, W), as a detector by `settings` hands it to its backbone."""
    torch.manual_seed(0)
    batch, _ = ImageTransform(settings).eval()([torch.rand(3, *IMAGE)])
    images: Tensor = batch.tensors
    return images
