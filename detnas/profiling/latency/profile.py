"""Measures, checks and stores the latencies of a recipe's search space on this device."""

from collections.abc import Iterator
from functools import reduce
from operator import add
from pathlib import Path

import torch
from torch import Tensor

from detnas.config import Recipe
from detnas.config.auto import ASSUMED_ASPECT_RATIO, fill_usual
from detnas.distributed.device import choose_device
from detnas.exporting.onnx_model import missing
from detnas.profiling.latency.around import DetectorAround
from detnas.profiling.latency.backends import MAX_ROUNDS, MIN_ROUNDS, Backend, Eager, OnnxRuntime, describe_device
from detnas.profiling.latency.check import NUM_ARCHITECTURES
from detnas.profiling.latency.table import measure_table, unbounded
from detnas.spaces import BudgetSampler, Size
from detnas.spaces.latency import write_latencies


def profile_latency(recipe: Recipe, out: Path) -> Iterator[str]:
    """Measure the latencies of what the recipe's budget is of, detectors or backbones, with every installed backend.
    Yields human-readable lines.

    Writes latency-SPACE-HxW-BACKEND.json for each backend to the folder `out` (with DETECTOR before the sizes, if the
    budget is of detectors, and with the size of each resolution): the tables, and how well their sums predict the
    latencies of whole networks.
    """
    recipe = fill_usual(recipe)
    space = recipe.search_space()
    device = choose_device(recipe.device)
    if recipe.budget.of == "detector":
        around: list[DetectorAround | None] = [DetectorAround(recipe, side) for side in space.resolution_choices]
        sizes = [one.parts.size for one in around if one]
        whose = f"whole detectors ({recipe.detector.type}, {recipe.classes} classes)"
    else:
        around, sizes, whose = [None], [recipe.detector.image_size(ASSUMED_ASPECT_RATIO)], "backbones"
    texts = [f"{height}x{width}" for height, width in sizes]
    yield (
        f"latency of {whose} of space {space.name} at {' and '.join(texts)} pixels, the size of an image after it is "
        "resized and padded"
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
    names = [space.name, *([recipe.detector.type] if recipe.budget.of == "detector" else []), *texts]
    for backend in backends:
        measured = [
            measure_table(
                one.space if one else space,
                random_images(size).to(backend.device),
                backend,
                one,
                NUM_ARCHITECTURES // len(sizes),
            )
            for one, size in zip(around, sizes, strict=True)
        ]
        tables, corrections, checks = zip(*measured, strict=True)
        check = reduce(add, checks)
        file = out / f"latency-{'-'.join(names)}-{backend.name}.json"
        write_latencies(file, tables, corrections=[vars(one) for one in corrections], check=check.statistics())
        extents = [
            BudgetSampler(one.space if one else space, unbounded(table, one)).extent("latency")
            for one, table in zip(around, tables, strict=True)
        ]
        least, most = min(low for low, _ in extents) / 1e3, max(high for _, high in extents) / 1e3
        device_text = describe_device(backend.device, backend.threads)
        yield f"{backend.name} on {device_text}: networks of {least:.3g} to {most:.3g} ms"
        yield from (f"  at {text}: {one.describe()}" for text, one in zip(texts, corrections, strict=True))
        yield from (f"  {line}" for line in check.describe())
        yield f"  {file}: to use it in a search: --set budget.latencies={file} --set budget.latency_max=MILLISECONDS"


def random_images(size: Size) -> Tensor:
    """A batch of one random image, (1, 3, H, W) float32, as a detector's backbone receives it."""
    torch.manual_seed(0)
    return torch.rand(1, 3, *size)
