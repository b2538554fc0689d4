"""Ops and families by name, as far as a search space needs to know them: what they cost, and where they may stand.

They are implemented above this package, in `detnas.models`, whose tables are looked up when they are needed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from detnas.spaces.architecture import PAPER_OPS
from detnas.spaces.block import Block
from detnas.spaces.cost import Cost, Size
from detnas.utils.errors import UserError
from detnas.utils.import_string import IMPORT_STRING, import_object, load_table
from detnas.utils.text import describe_value

COST_RULE = (
    "let it take the height and width of the op's input as `size`, and return a detnas.spaces.Cost of whole numbers"
)


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


def op_cost(name: str, block: Block, size: Size) -> Cost:
    """The cost of an op at `block`, for an input map of `size`. Raises `UserError` if a custom op says none."""
    try:
        cost = find_op(name).cost(block, size)
    except TypeError as error:
        raise UserError(f"space.ops: {name}: cost(block, size) fails ({error}); {COST_RULE}") from None
    if not isinstance(cost, Cost) or not isinstance(cost.macs, int) or not isinstance(cost.params, int):
        raise UserError(f"space.ops: {name}: cost(block, size) gives {describe_value(cost)}; {COST_RULE}")
    return cost


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
