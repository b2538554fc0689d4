"""Ops and families by name, as far as a search space needs to know them: what they cost, and where they may stand.

They are implemented above this package, in `detnas.models`, whose tables are looked up when they are needed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from detnas.spaces.architecture import PAPER_OPS
from detnas.spaces.block import Block
from detnas.utils.errors import UserError
from detnas.utils.import_string import IMPORT_STRING, import_object, load_table


def op_table() -> Mapping[str, Any]:
    """The ops that detnas has, by name."""
    return load_table("detnas.models.ops:OPS")


def family_table() -> Mapping[str, Any]:
    """The families that detnas has, by name."""
    return load_table("detnas.models.families:FAMILIES")


def find_family(name: str) -> Any:
    """The `Family` of a space."""
    return family_table()[name]


def find_op(name: str) -> Any:
    """The `OpSpec` of a space's op: an entry of detnas's table, or a custom op's class, `package.module:Class`.
    Raises `UserError` for a class that cannot be imported or is no op."""
    if not IMPORT_STRING.fullmatch(name):
        return op_table()[name]
    op = import_object(name, "space.ops")
    if not all(hasattr(op, member) for member in ("build", "cost", "is_allowed", "seed")):  # as `OpSpec` has them
        raise UserError(f"space.ops: {name} is no op; let it be a subclass of detnas.CustomOp")
    return op


def allowed_ops(ops: Sequence[str], blocks: Sequence[Block]) -> tuple[tuple[int, ...], ...]:
    """Which of `ops`, by index, may stand at each of `blocks`. Raises `UserError` if at one of them none may."""
    every = tuple(range(len(ops)))
    if set(ops) <= set(PAPER_OPS):
        return (every,) * len(blocks)  # the paper's ops may stand anywhere; asking them would import them
    specs = [find_op(name) for name in ops]
    allowed = {block: tuple(op for op in every if specs[op].is_allowed(block)) for block in set(blocks)}
    for block in blocks:
        if not allowed[block]:
            raise UserError(f"space.ops: none of {', '.join(ops)} may stand at a block of {block}; add one that may")
    return tuple(allowed[block] for block in blocks)
