"""Budgets, and uniform draws of architectures within one.

Blocks at which the same ops are allowed at equal costs are interchangeable, so a space has few distinct totals for each
half of its blocks, and sorting one half makes counting and drawing within a bound exact (meet in the middle).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations_with_replacement, pairwise
from math import comb, factorial, inf, prod
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from detnas.spaces.architecture import Architecture
from detnas.spaces.cost import NOTHING, Cost, CostTable, DetectorParts, Size
from detnas.spaces.latency import REMEDY, LatencyTable
from detnas.spaces.space import SearchSpace
from detnas.utils.errors import UserError

CostName = Literal["macs", "params", "latency"]
COSTS: tuple[CostName, ...] = get_args(CostName)

MOST_TOTALS = 3e7
"""The most totals of half a space's blocks that fit into memory."""

MOST_CHOICES = 2e6
"""The most ops in all choices of one group of interchangeable blocks: those of about 55 blocks of four ops."""

DRAWS = 20_000
"""Draws after which an architecture that meets the other bounds, or has not been seen, is assumed not to exist."""


@dataclass(frozen=True)
class Budget:
    """Bounds (both ends included) on MACs and parameters, and on the latency in microseconds by the table `latencies`.

    They are those of a backbone, stem and blocks, for an image of `size` pixels, height and width, or the side of a
    square. With the costs of the rest of a `detector` at each resolution of the space (at None, if there is no choice)
    they are those of the whole, at its own size and by its own `latencies`. Raises `UserError` for bounds on the
    latency without a table.
    """

    macs: tuple[float, float] = (0, inf)
    params: tuple[float, float] = (0, inf)
    size: int | Size = 224
    latency: tuple[float, float] = (0, inf)
    latencies: LatencyTable | None = None
    detector: Mapping[int | None, DetectorParts] | None = None

    def __post_init__(self) -> None:
        if self.latency != (0, inf) and not self.has_latencies:
            raise UserError(f"budget.latency: bounds need a table of measured latencies; {REMEDY}")

    @property
    def of(self) -> str:
        """What is bounded, in words."""
        return "detector" if self.detector else "backbone"

    @property
    def has_latencies(self) -> bool:
        """Whether the latencies of networks are known."""
        return None not in self._latencies

    @property
    def _latencies(self) -> list[LatencyTable | None]:
        """The table of each resolution."""
        return [parts.latencies for parts in self.detector.values()] if self.detector else [self.latencies]

    def allows(self, cost: Cost) -> bool:
        """Whether a cost lies within all bounds."""
        return (
            self.macs[0] <= cost.macs <= self.macs[1]
            and self.params[0] <= cost.params <= self.params[1]
            and self.latency[0] <= cost.latency <= self.latency[1]
        )

    def table(self, space: SearchSpace, resolution: int | None) -> CostTable:
        """The costs of the networks of `space` that have this resolution."""
        if self.detector is None:
            table = space.cost_table(self.size, self.latencies)
            free = tuple(dict.fromkeys(allowed, NOTHING) for allowed in space.head.allowed_ops)
            return replace(table, detector=DetectorParts(table.size, NOTHING, NOTHING, free)) if free else table
        parts = self.detector[resolution]
        return replace(space.cost_table(parts.size, parts.latencies), detector=parts)

    def latencies_from(self) -> str:
        """At which sizes of the input, on what device and by what backend latencies were measured, in words."""
        tables = [table for table in self._latencies if table is not None]
        sizes = " and ".join(f"{table.height}x{table.width}" for table in tables)
        return f"{sizes} pixels on {tables[0].device}, {tables[0].backend}"


class BudgetSampler:
    """Draws architectures of `space` within `budget`, uniformly.
    Raises `UserError` at once when no architecture is within the budget, naming the feasible range."""

    def __init__(self, space: SearchSpace, budget: Budget) -> None:
        self.space = space
        self.budget = budget
        self.tables = {resolution: budget.table(space, resolution) for resolution in space.resolution_choices}
        """The costs of the networks of each resolution; of all, at None, if there is no choice."""
        counted = [self._count(cost) for cost in self.bounded]
        # The count is exact for one cost, that whose bounds fewest meet; the bounds on the others are met by rejection.
        self._halves = min(counted, key=_count_all)
        if len(counted) > 1 and self.sample(np.random.default_rng(0)) is None:
            bounds = " and ".join(self._bounds(cost) for cost in self.bounded)
            raise UserError(
                f"budget: no {budget.of} of space {space.name} was found that meets all bounds, {bounds}; widen one"
            )

    def cost(self, architecture: Architecture) -> Cost:
        """What the budget bounds, of an architecture of the space."""
        return self.tables[architecture.resolution].cost(architecture)

    def allows(self, architecture: Architecture) -> bool:
        """Whether the space allows the architecture's ops, and its cost lies within the budget."""
        return self.space.allows(architecture) and self.budget.allows(self.cost(architecture))

    def share(self) -> float:
        """The fraction of the space within the budget, estimated from draws if several costs are bounded."""
        exact = float(_count_all(self._halves) / self.space.size)
        if len(self.bounded) == 1:
            return exact
        rng = np.random.default_rng(0)
        return exact * float(np.mean([self.allows(self._draw(rng)) for _ in range(2000)]))

    def sample(self, rng: np.random.Generator, seen: AbstractSet[Architecture] = frozenset()) -> Architecture | None:
        """One architecture within the budget that is not in `seen`; None if none was found in `DRAWS` draws.
        If no more than a few thousand are within the budget, None means that all of them have been seen."""
        for _ in range(DRAWS):
            architecture = self._draw(rng)
            if architecture not in seen and self.allows(architecture):
                return architecture
        return None

    def _draw(self, rng: np.random.Generator) -> Architecture:
        """Uniform among the architectures that meet the bound on the counted cost."""
        resolutions = list(self._halves)
        chosen = resolutions[0]
        if len(resolutions) > 1:
            counts = np.array([self._halves[resolution].count for resolution in resolutions])
            chosen = resolutions[int(np.searchsorted(counts.cumsum(), rng.random() * counts.sum(), side="right"))]
        resolution = [] if chosen is None else [self.space.resolutions.index(chosen)]
        return self.space.decode([*resolution, *self._halves[chosen].draw(rng)])

    def extent(self, cost: CostName) -> tuple[int, int]:
        """The least and the most `cost` that a network of the space has, within the budget's bounds or not."""
        extents = [table.extent(cost) for table in self.tables.values()]
        return min(low for low, _ in extents), max(high for _, high in extents)

    def intervals(self, cost: CostName, number: int) -> list["BudgetSampler"]:
        """A sampler for each of `number` equal intervals of a cost within the budget, the cheapest first, as far as
        they hold architectures."""
        bounds, extent = getattr(self.budget, cost), self.extent(cost)
        edges = np.linspace(max(bounds[0], extent[0]), min(bounds[1], extent[1]), number + 1).tolist()
        samplers = []
        for part in pairwise(edges):
            changed: dict[str, Any] = {cost: part}
            with suppress(UserError):
                samplers.append(BudgetSampler(self.space, replace(self.budget, **changed)))
        return samplers

    @property
    def bounded(self) -> list[CostName]:
        """The costs that the budget bounds, or MACs if it bounds none."""
        return [cost for cost in COSTS if getattr(self.budget, cost) != (0, inf)] or ["macs"]

    def _count(self, cost: CostName) -> "dict[int | None, _Halves]":
        """All totals of one cost, and their number within its bounds, by resolution; those at which there is none are
        left out. Raises `UserError` if there is none at any."""
        lower, upper = getattr(self.budget, cost)
        found = {}
        for resolution, table in self.tables.items():
            fixed: int = getattr(table.fixed, cost)
            halves = _Halves(table.of(cost), lower - fixed, upper - fixed)
            if halves.count > 0:
                found[resolution] = halves
        if not found:
            whose = f"{self.budget.of} of space {self.space.name}"
            raise UserError(f"budget.{cost}: no {whose} has {self._bounds(cost)}; widen the bounds")
        return found

    def _bounds(self, cost: CostName) -> str:
        """The bounds on one cost, and its range in the space, as messages have them."""
        lower, upper = getattr(self.budget, cost)
        least, most = self.extent(cost)
        if cost == "latency":
            return (
                f"{lower / 1e3:,.3f} to {upper / 1e3:,.3f} ms (there are {least / 1e3:,.3f} to {most / 1e3:,.3f} at "
                f"{self.budget.latencies_from()})"
            )
        sizes = dict.fromkeys("x".join(map(str, table.size)) for table in self.tables.values())
        at = f" at {' and '.join(sizes)} pixels" if cost == "macs" else ""
        return f"{lower:,.0f} to {upper:,.0f} {cost} (there are {least:,} to {most:,}{at})"


def _count_all(halves: "Mapping[int | None, _Halves]") -> float:
    """How many architectures of all resolutions are within the bounds."""
    return sum(of_one.count for of_one in halves.values())


class _Halves:
    """All totals of two halves of the blocks, ready to count and draw pairs whose sum is within the bounds.
    `rows[b][o]` is the cost of op o at block b, for every op that is allowed there."""

    def __init__(self, rows: Sequence[Mapping[int, int]], lower: float, upper: float) -> None:
        self.rows = rows
        self.first, self.second = _split(_interchangeable(rows), rows)
        totals, weights = _totals(self.first, rows)
        other_totals, other_weights = _totals(self.second, rows)
        self.order = np.argsort(other_totals, kind="stable")
        sorted_totals = other_totals[self.order]
        self.cumulative = np.concatenate([[0.0], np.cumsum(other_weights[self.order])])
        self.start = np.searchsorted(sorted_totals, lower - totals, side="left")
        self.stop = np.searchsorted(sorted_totals, upper - totals, side="right")
        partners = self.cumulative[self.stop] - self.cumulative[self.start]
        self.first_cumulative = np.cumsum(weights * np.maximum(partners, 0.0))
        self.count = float(self.first_cumulative[-1])
        """How many architectures are within the bounds (a float: large spaces exceed 64 bits)."""

    def draw(self, rng: np.random.Generator) -> list[int]:
        """The ops of one architecture, uniform among those within the bounds."""
        first = int(np.searchsorted(self.first_cumulative, rng.random() * self.count, side="right"))
        low, high = self.cumulative[self.start[first]], self.cumulative[self.stop[first]]
        place = int(np.searchsorted(self.cumulative, low + rng.random() * (high - low), side="right")) - 1
        second = int(self.order[min(place, self.stop[first] - 1)])
        ops = [0] * len(self.rows)
        for groups, index in ((self.first, first), (self.second, second)):
            for group in reversed(groups):
                choices = _choices(len(group), tuple(self.rows[group[0]]))
                index, choice = divmod(index, len(choices))
                for block, op in zip(group, rng.permutation(choices[choice]), strict=True):
                    ops[block] = int(op)
        return ops


def _interchangeable(rows: Sequence[Mapping[int, int]]) -> list[list[int]]:
    """Blocks grouped by equal rows: the same ops at the same costs."""
    groups: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for block, row in enumerate(rows):
        groups.setdefault(tuple(row.items()), []).append(block)
    return list(groups.values())


def _split(groups: list[list[int]], rows: Sequence[Mapping[int, int]]) -> tuple[list[list[int]], list[list[int]]]:
    """Two halves with about equally many combinations of choices."""
    halves: tuple[list[list[int]], list[list[int]]] = ([], [])
    sizes = [1, 1]
    is_too_large = False
    for group in sorted(groups, key=len, reverse=True):
        half = int(sizes[1] < sizes[0])
        halves[half].append(group)
        ops = len(rows[group[0]])
        choices = comb(len(group) + ops - 1, len(group))  # as many as `_choices` gives, which are not made yet
        is_too_large |= choices * len(group) > MOST_CHOICES
        sizes[half] *= choices
    if is_too_large or max(sizes) > MOST_TOTALS:
        raise UserError(
            f"space: {max(map(len, rows))} ops in {len(rows)} blocks have too many costs to be counted; leave out ops "
            "or blocks"
        )
    return halves


@cache
def _choices(blocks: int, ops: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The ways to give `blocks` interchangeable blocks one of `ops` each, regardless of order."""
    return list(combinations_with_replacement(ops, blocks))


def _totals(
    groups: list[list[int]], rows: Sequence[Mapping[int, int]]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The total cost of every combination of the groups' choices, and the number of architectures with each."""
    totals, weights = np.zeros(1, np.int64), np.ones(1)
    for group in groups:
        row = rows[group[0]]
        choices = _choices(len(group), tuple(row))
        costs = np.array([sum(row[op] for op in choice) for choice in choices], np.int64)
        counts = np.array([_orders(choice) for choice in choices])
        totals = (totals[:, None] + costs[None]).reshape(-1)
        weights = (weights[:, None] * counts[None]).reshape(-1)
    return totals, weights


def _orders(choice: tuple[int, ...]) -> float:
    """The number of orders of a multiset of ops."""
    return float(factorial(len(choice)) // prod(map(factorial, Counter(choice).values())))
