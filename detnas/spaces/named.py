"""The search spaces that have a name, and spaces made from them."""

from collections.abc import Sequence
from dataclasses import replace
from math import inf

from detnas.spaces.space import MOBILE_OPS, SearchSpace
from detnas.utils.errors import UserError
from detnas.utils.text import describe_value


def _mobile(name: str, channels: tuple[int, ...], repeats: tuple[int, ...]) -> SearchSpace:
    """A space in the layout of an EfficientNet-Lite; `channels` are those of the fixed first block and of the
    stages."""
    first, *stages = channels
    return SearchSpace(
        name, 32, tuple(stages), repeats, MOBILE_OPS, (2, 2, 2, 1, 2, 1), first, family="efficientnet-lite"
    )


SPACES = {
    "small": SearchSpace("small", stem=16, channels=(64, 160, 320, 640), repeats=(4, 4, 8, 4)),
    "large": SearchSpace("large", stem=48, channels=(96, 240, 480, 960), repeats=(8, 8, 16, 8)),
    # Not the paper's: ten blocks for images of about 100-128 pixels on a CPU.
    "tiny": SearchSpace("tiny", stem=16, channels=(32, 64, 128, 256), repeats=(2, 2, 4, 2)),
    # Not the paper's: in the layout of EfficientNet-Lite0 to -Lite4, whose ImageNet weights fit.
    "mobile": _mobile("mobile", (16, 24, 40, 80, 112, 192, 320), (2, 2, 3, 3, 4, 1)),
    "mobile-lite1": _mobile("mobile-lite1", (16, 24, 40, 80, 112, 192, 320), (3, 3, 4, 4, 5, 1)),
    "mobile-lite2": _mobile("mobile-lite2", (16, 24, 48, 88, 120, 208, 352), (3, 3, 4, 4, 5, 1)),
    "mobile-lite3": _mobile("mobile-lite3", (24, 32, 48, 96, 136, 232, 384), (3, 3, 5, 5, 6, 1)),
    "mobile-lite4": _mobile("mobile-lite4", (24, 32, 56, 112, 160, 272, 448), (4, 4, 6, 6, 8, 1)),
}


def search_space(
    name: str,
    width: float = 1.0,
    *,
    stem: int | None = None,
    channels: Sequence[int] | None = None,
    repeats: Sequence[int] | None = None,
    ops: Sequence[str] | None = None,
) -> SearchSpace:
    """A space by name, with its channels times `width`, rounded to multiples of 4.

    "small" (20 blocks) and "large" (40 blocks) are the paper's; "tiny" (10 blocks) is for images of about 100 pixels on
    a CPU; "mobile" (15 blocks) has the layout of EfficientNet-Lite0, and "mobile-lite1" to "mobile-lite4" have those of
    its larger siblings. `stem`, `channels`, `repeats` and `ops` replace those of the named space, see `SearchSpace`,
    and extend its name. Raises `UserError` for an unknown name, or parts that make no space.
    """
    if name not in SPACES:
        raise UserError(f"space {describe_value(name)} is unknown; choose one of {', '.join(SPACES)}")
    if not 0 < width < inf:
        raise UserError(f"width {width} of space {name}: must be a number above 0")
    space = SPACES[name]
    if width != 1.0:
        of_stem, *of_stages = (max(4, round(wide * width / 4) * 4) for wide in (space.stem, *space.channels))
        first = space.first_block and max(4, round(space.first_block * width / 4) * 4)
        space = replace(space, name=f"{name}-x{width:g}", stem=of_stem, channels=tuple(of_stages), first_block=first)
    own = {"s": None if stem is None else (stem,), "c": channels, "r": repeats}
    changed = "".join(f"-{part}{'.'.join(map(str, numbers))}" for part, numbers in own.items() if numbers is not None)
    if ops is not None and tuple(ops) != space.ops:
        changed += f"-{len(ops)}ops"
    return replace(
        space,
        name=space.name + changed,
        stem=space.stem if stem is None else stem,
        channels=space.channels if channels is None else tuple(channels),
        repeats=space.repeats if repeats is None else tuple(repeats),
        ops=space.ops if ops is None else tuple(ops),
        # Any number of stages is possible where each halves the map.
        stage_strides=() if set(space.stage_strides) == {2} else space.stage_strides,
    )
