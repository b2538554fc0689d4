"""The supernet, which holds every op of every block, and what is extracted from it."""

import copy
from collections.abc import Sequence
from typing import TypeVar, cast

from torch import Tensor, nn

from detnas.models.backbone import SpaceBackbone, Subnet, build_op, find_backbone
from detnas.models.ops.shuffle import Shuffle
from detnas.spaces.architecture import Architecture
from detnas.spaces.block import Block
from detnas.spaces.space import SearchSpace


class ChoiceBlock(nn.Module):
    """Every op that one block can be; computes the active one.

    `allowed` are the indices in `ops`, the space's names, of those that the block can be; the others are identities.
    """

    def __init__(self, block: Block, shuffle: Shuffle, ops: Sequence[str], allowed: Sequence[int]) -> None:
        super().__init__()
        self.ops = nn.ModuleList(
            build_op(name, block, shuffle) if index in allowed else nn.Identity() for index, name in enumerate(ops)
        )
        self.active = allowed[0]

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.ops[self.active](x))


class Supernet(SpaceBackbone):
    """Every candidate backbone of a space in one network, with fresh weights; computes the activated architecture.
    `shuffle` is as in `Subnet`. Before anything is activated, every block is the first op that it can be."""

    def __init__(self, space: SearchSpace, shuffle: Shuffle = "even_odd") -> None:
        allowed = space.allowed_ops
        super().__init__(space, lambda index, block: ChoiceBlock(block, shuffle, space.ops, allowed[index]))
        self.shuffle: Shuffle = shuffle

    @property
    def choices(self) -> list[ChoiceBlock]:
        """The blocks from input to output."""
        return [cast(ChoiceBlock, block) for block in self.blocks]

    def activate(self, architecture: Architecture) -> None:
        """Choose the path that the next forward passes compute. Raises `UserError` if it does not fit the space."""
        self.space.check(architecture)
        for block, op in zip(self.choices, architecture.ops, strict=True):
            block.active = op

    def subnet(self, architecture: Architecture) -> Subnet:
        """The plain network of `architecture` with copies of this supernet's weights and BN statistics.

        The statistics fit no candidate until they are recalibrated. Raises `UserError` if it does not fit the space.
        """
        subnet = Subnet(self.space, architecture, self.shuffle)
        subnet.stem = copy.deepcopy(self.stem)
        subnet.blocks = nn.ModuleList(
            copy.deepcopy(block.ops[op]) for block, op in zip(self.choices, architecture.ops, strict=True)
        )
        return subnet.train(self.training)


Model = TypeVar("Model", bound=nn.Module)


def extract_subnet(model: Model, architecture: Architecture) -> Model:
    """A deep copy of `model` with the plain network of `architecture` in place of its supernet."""
    supernet = find_backbone(model)
    assert isinstance(supernet, Supernet)
    return copy.deepcopy(model, {id(supernet): supernet.subnet(architecture)})
