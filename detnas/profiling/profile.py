"""What a recipe searches, and roughly how long it takes on this device, without any training."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np

from detnas.config import Recipe
from detnas.config.auto import fill_usual
from detnas.spaces import BudgetSampler
from detnas.utils.progress import format_duration

SAMPLES = 1001
"""Architectures that are sampled within the budget to find the cheapest, the median and the most expensive."""


def describe(recipe: Recipe) -> Iterator[str]:
    """Human-readable lines. Raises `UserError` for a budget that no architecture meets."""
    space = recipe.search_space()
    recipe = fill_usual(recipe)
    sampler = BudgetSampler(space, recipe.cost_budget())
    yield f"recipe {recipe.name}: detector {recipe.detector.type}, space {space.name}"
    fraction = f"{sampler.share():.1%} within the budget"
    sides = f", resolutions {', '.join(map(str, space.resolutions))}" if space.resolutions else ""
    yield f"{len(space.blocks)} blocks of {len(space.ops)} ops{sides}: {space.size:.3g} architectures, {fraction}"
    rng = np.random.default_rng(0)
    samples = [architecture for _ in range(SAMPLES) if (architecture := sampler.sample(rng)) is not None]
    samples.sort(key=lambda architecture: sampler.cost(architecture).macs)
    yield f"of {SAMPLES} samples within the budget, which is that of the {recipe.budget.of}:"
    median = samples[len(samples) // 2]
    for name, architecture in (("cheapest", samples[0]), ("median", median), ("most expensive", samples[-1])):
        cost = sampler.cost(architecture)
        yield f"  {name:14}  {architecture}  {cost.in_millions()}"
    # What needs torch comes last, since importing it takes seconds.
    with _gc_disabled():
        import torch

        from detnas.distributed.device import choose_device
        from detnas.models.backbone import Subnet
        from detnas.profiling.throughput import estimate_seconds
        from detnas.run.baselines import baseline_builders
        from detnas.run.costs import detector_cost, network_cost

    with torch.device("meta"):  # without pixels and weights: only the costs are needed
        baselines = baseline_builders(recipe, sampler, partial(Subnet, space))
        networks = {name: make_network() for name, make_network in baselines.items()}
        (height, width), parts = detector_cost(Subnet(space, median), recipe)
    macs = sum(cost.macs for cost in parts.values())
    shares = ", ".join(f"{cost.macs / macs:.0%} {part}" for part, cost in parts.items())
    yield (
        f"whole detector around the median, for an image of {width}x{height} and {recipe.classes} classes: "
        f"{macs / 1e6:.1f}M MACs, {shares}"
    )
    if networks:
        yield "baselines:"
    for name, network in networks.items():
        yield f"  {name}: {network.architecture or '-'}  {network_cost(network, recipe, sampler).in_millions()}"
    device = choose_device(recipe.device)
    seconds = estimate_seconds(recipe, Subnet(space, median), list(networks.values()), device)
    yield f"estimated time on this {device.type}, roughly:"
    for stage, stage_seconds in seconds.items():
        yield f"  {stage:18} {format_duration(stage_seconds)}"
    yield f"  {'total':18} {format_duration(sum(seconds.values()))}"


@contextmanager
def _gc_disabled() -> Iterator[None]:
    """Disable garbage collection during imports, whose objects all stay: repeated collections take about a second."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()
