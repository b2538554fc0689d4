"""Incumbents: the networks that one would take without a search."""

from collections.abc import Collection, Iterator
from dataclasses import replace

from detnas.spaces.architecture import Architecture
from detnas.spaces.budget import BudgetSampler
from detnas.spaces.published import LITE, PUBLISHED
from detnas.spaces.space import SearchSpace

THINNER = {
    "mbconv6_k3": "mbconv3_k3",
    "mbconv6_k5": "mbconv3_k5",
    "shuffle3": "shuffle3_half",
    "shuffle5": "shuffle5_half",
}
"""Ops with half the inner channels, or expansion 3 in place of 6."""
SKIP = "skip"


def find_incumbents(sampler: BudgetSampler, named: Collection[str], most: int) -> list[Architecture]:
    """Up to `most` incumbents within the budget.

    First the published networks of the space, of those of the paper's the `named`, at every resolution that fits, the
    highest first, and with every op in all convolutions of the head. Then, the most expensive first, what is made of
    them or of one op: every block that op where it is allowed; every block thinner; and every stage shorter by one
    block. Each of these is at the highest resolution that fits, with the first op in the head with which it does.
    """
    space = sampler.space
    published = [
        one.architecture
        for name, one in PUBLISHED.items()
        if one.space == space.backbones and (name in named or one.source == LITE)
    ]
    found = [one for backbone in published for one in _around(backbone, sampler)]
    others = [next(_around(backbone, sampler), None) for backbone in _variants(published, space)]
    others.sort(key=lambda one: -sampler.cost(one).macs if one else 0)
    return list(dict.fromkeys([*found, *(one for one in others if one)]))[:most]


def _around(backbone: Architecture, sampler: BudgetSampler) -> Iterator[Architecture]:
    """The architectures with a backbone and one op in the head that are within the budget, the highest resolution
    first."""
    head = sampler.space.head
    heads = [head.uniform(op) for op in range(len(head.ops))] or [()]
    for resolution in reversed(sampler.space.resolution_choices):
        for ops in heads:
            one = replace(backbone, resolution=resolution, head=ops)
            if sampler.allows(one):
                yield one


def _variants(published: list[Architecture], space: SearchSpace) -> Iterator[Architecture]:
    """Backbones of one op, and of the published ones thinner and shorter."""
    for op in range(len(space.ops)):
        if space.ops[op] != SKIP:
            yield space.architecture([op if op in allowed else allowed[0] for allowed in space.allowed_ops])
    for backbone in published:
        thinner = _thinner(backbone, space)
        for one in (backbone, thinner) if thinner else (backbone,):
            if one is not backbone:
                yield one
            shorter = _shorter(one, space)
            if shorter:
                yield shorter


def _thinner(backbone: Architecture, space: SearchSpace) -> Architecture | None:
    """Every block with its thinner op; None if the space does not have it."""
    names = [THINNER.get(space.ops[op]) for op in backbone.ops]
    if not all(name in space.ops for name in names):
        return None
    return space.architecture([space.ops.index(name) for name in names if name])


def _shorter(backbone: Architecture, space: SearchSpace) -> Architecture | None:
    """The last block of every stage left out; None if the space has no skip."""
    if SKIP not in space.ops:
        return None
    skip, ops = space.ops.index(SKIP), list(backbone.ops)
    last = -1
    for repeats in space.repeats:
        last += repeats
        if skip in space.allowed_ops[last]:
            ops[last] = skip
    return space.architecture(ops)
