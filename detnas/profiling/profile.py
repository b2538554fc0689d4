"""Before anything is trained: what a recipe searches, and about how long it takes on this device."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from detnas.config import Recipe
from detnas.spaces import BudgetSampler
from detnas.utils.progress import format_duration

DRAWN = 1001
"""Architectures drawn to find the cheapest, the median and the most expensive."""


def describe(recipe: Recipe) -> Iterator[str]:
    """Lines for people. Raises `UserError` for a budget that no architecture meets."""
    space = recipe.search_space()
    sampler = BudgetSampler(space, recipe.cost_budget())
    yield f"recipe {recipe.name}: detector {recipe.detector.type}, space {space.name}"
    share = f"{sampler.share():.1%} within the budget"
    yield f"{len(space.blocks)} blocks of {len(space.ops)} ops: {space.size:.3g} architectures, {share}"
    rng = np.random.default_rng(0)
    drawn = [architecture for _ in range(DRAWN) if (architecture := sampler.sample(rng)) is not None]
    drawn.sort(key=lambda architecture: sampler.table.cost(architecture.ops).macs)
    for name, architecture in (
        ("cheapest", drawn[0]),
        ("median", drawn[len(drawn) // 2]),
        ("most expensive", drawn[-1]),
    ):
        cost = sampler.table.cost(architecture.ops)
        yield f"  {name:8} of {DRAWN} drawn: {architecture}  {cost.in_millions()}"
    # What needs torch comes last: it takes seconds to import.
    with _uncollected():
        import torch

        from detnas.distributed.device import choose_device
        from detnas.models.backbone import Subnet
        from detnas.profiling.throughput import expected
        from detnas.run.baselines import baselines, network_cost

    with torch.device("meta"):  # their costs are asked for, never their weights
        networks = {name: make_network() for name, make_network in baselines(recipe, sampler).items()}
    if networks:
        yield "baselines:"
    for name, network in networks.items():
        yield f"  {name}: {network.architecture or '-'}  {network_cost(network, sampler).in_millions()}"
    device = choose_device(recipe.device)
    seconds = expected(recipe, Subnet(space, drawn[len(drawn) // 2]), list(networks.values()), device)
    yield f"expected time on this {device.type}, roughly:"
    for stage, time_of_stage in seconds.items():
        yield f"  {stage:18} {format_duration(time_of_stage)}"
    yield f"  {'together':18} {format_duration(sum(seconds.values()))}"


@contextmanager
def _uncollected() -> Iterator[None]:
    """For imports: modules stay, so looking for garbage among all their objects, again and again, wastes a second."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()
