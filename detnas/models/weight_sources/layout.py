"""Which spaces have networks with the same tensors."""

from collections.abc import Sequence

from detnas.spaces import SearchSpace
from detnas.utils.errors import UserError

LAYOUT = ("family", "stem", "first_block", "channels", "repeats", "stage_strides")
"""What two spaces have in common if blocks at the same place have the same input, output and stride."""

SUPERNET_LAYOUT = (*LAYOUT, "ops")
"""What they have in common if their supernets have the same tensors."""


def check_layout(where: str, own: SearchSpace, space: SearchSpace, facts: Sequence[str] = LAYOUT) -> None:
    """Raise `UserError` unless `space` has these facts in common with `own`, the space of the weights at `where`."""
    for name in facts:
        theirs, wanted = getattr(own, name), getattr(space, name)
        if theirs != wanted:
            raise UserError(
                f"{where}: its networks have {name} {theirs}, but those of space {space.name} have {wanted}; name "
                "other weights, or choose their space"
            )
