"""A cache of feature maps for candidates that begin with the same ops."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from detnas.models.backbone import Subnet
from detnas.search.evaluators.inputs import VALUE_BYTES
from detnas.spaces import SearchSpace

Prefix = tuple[int, ...]
"""The ops of a backbone's first blocks; the empty one stands for its stem."""


class PrefixCache:
    """The maps behind the first blocks of candidates, kept for later ones that begin with the same ops.

    The map behind a block depends on the images and on the supernet's ops up to there: in recalibration each batch
    is normalized by its own statistics, in the evaluation by those that these ops had in recalibration. So the outputs
    of a candidate are the same, to the bit, whether it begins with the images or with another one's maps.

    All candidates must come from one supernet and see the same batches in the same order, in `passes` passes, of
    `pixels` pixels in all after padding; one that is dropped before the last pass leaves nothing. The kept maps take at
    most `room` bytes; those of the longest and least recently used prefixes are dropped first. Nothing is kept where
    the maps of one candidate take more.
    """

    def __init__(self, space: SearchSpace, pixels: int, passes: int, room: int) -> None:
        self.passes = passes
        self.sizes = _sizes(space, pixels)
        self.room = room
        self.maps: OrderedDict[Prefix, list[Tensor]] = OrderedDict()
        """The map of each pass. A prefix is always used after longer ones that begin with it, and so kept as long."""

    @contextmanager
    def shared(self, backbone: Subnet) -> Iterator[None]:
        """Let `backbone` begin with maps of earlier candidates in the passes of this context, and keep its own.

        The backbone cannot be used afterwards: it has lost the layers whose maps are known.
        """
        if sum(self.sizes) > self.room:
            yield
            return
        ops = backbone.architecture.ops
        prefixes = [ops[:depth] for depth in range(len(ops))]  # no other candidate has all ops
        known = [prefix for prefix in prefixes if prefix in self.maps]
        self._use(known)
        self._make_room(prefixes[len(known) :])
        for depth, prefix in enumerate(known):
            backbone.set_submodule(_layer(depth), _Recall(self.maps[prefix]))
        kept: dict[Prefix, list[Tensor]] = {prefix: [] for prefix in prefixes[len(known) :]}
        for depth, prefix in enumerate(kept, start=len(known)):
            backbone.get_submodule(_layer(depth)).register_forward_hook(partial(_append, kept[prefix]))
        yield
        if all(len(maps) == self.passes for maps in kept.values()):
            self.maps |= kept
            self._use(prefixes)

    def _use(self, prefixes: Sequence[Prefix]) -> None:
        for prefix in reversed(prefixes):
            self.maps.move_to_end(prefix)

    def _make_room(self, prefixes: Sequence[Prefix]) -> None:
        wanted = sum(self.sizes[len(prefix)] for prefix in prefixes)
        while wanted + sum(self.sizes[len(prefix)] for prefix in self.maps) > self.room:
            self.maps.popitem(last=False)


class _Recall(nn.Module):
    """Returns the map of each pass in turn, whatever its input."""

    def __init__(self, maps: Sequence[Tensor]) -> None:
        super().__init__()
        self.maps = iter(maps)

    def forward(self, _: Tensor) -> Tensor:
        return next(self.maps)


def _sizes(space: SearchSpace, pixels: int) -> list[int]:
    """Bytes of the maps behind the stem and behind each block but the last."""
    stride, sizes = 2, [space.stem_channels * pixels * VALUE_BYTES // 4]
    for block in space.blocks[:-1]:
        stride *= block.stride
        sizes.append(block.out_channels * pixels * VALUE_BYTES // stride**2)
    return sizes


def _layer(depth: int) -> str:
    """The name of the layer in a backbone after which `depth` blocks have run."""
    return f"blocks.{depth - 1}" if depth else "stem"


def _append(maps: list[Tensor], module: nn.Module, inputs: Any, output: Tensor) -> None:
    maps.append(output)
