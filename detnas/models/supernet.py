"""The supernet, which holds every op of every block, and what is extracted from it."""

import copy
from collections.abc import Iterable
from typing import TypeVar, cast

from torch import Tensor, nn

from detnas.models.backbone import SpaceBackbone, Subnet, build_op, find_backbone
from detnas.models.ops.shuffle import Shuffle
from detnas.spaces.architecture import Architecture
from detnas.spaces.block import Block
from detnas.spaces.space import SearchSpace


class ChoiceBlock(nn.Module):
    """Every op that one block can be; computes the active one.

    `ops` has, for each op of the space, a module; None where the block cannot be that op.
    """

    def __init__(self, ops: Iterable[nn.Module | None]) -> None:
        super().__init__()
        found = list(ops)
        self.ops = nn.ModuleList(op or nn.Identity() for op in found)
        self.active = next(index for index, op in enumerate(found) if op is not None)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.ops[self.active](x))


class Supernet(SpaceBackbone):
    """Every candidate backbone of a space in one network, with fresh weights; computes the activated architecture.
    `shuffle` is as in `Subnet`. Before anything is activated, every block is the first op that it can be."""

    def __init__(self, space: SearchSpace, shuffle: Shuffle = "even_odd") -> None:
        allowed = space.allowed_ops

        def make_block(index: int, block: Block) -> ChoiceBlock:
            names = enumerate(space.ops)
            return ChoiceBlock(build_op(name, block, shuffle) if op in allowed[index] else None for op, name in names)

        super().__init__(space, make_block)
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


def activate_path(model: nn.Module, architecture: Architecture) -> None:
    """Choose the path of the supernet in `model`, and of the head around it if that has choices, which the next forward
    passes compute. Raises `UserError` if it does not fit the space."""
    _find_supernet(model).activate(architecture)
    for choice, op in zip(_head_choices(model).values(), architecture.head_ops, strict=False):
        choice.active = op


def extract_subnet(model: Model, architecture: Architecture) -> Model:
    """A deep copy of `model` with the plain network of `architecture` in place of its supernet, and plain layers in
    place of the choices of its head."""
    supernet = _find_supernet(model)
    copied = copy.deepcopy(model, {id(supernet): supernet.subnet(architecture)})
    for (name, choice), op in zip(_head_choices(copied).items(), architecture.head_ops, strict=False):
        copied.set_submodule(name, choice.ops[op])
    return copied


def _find_supernet(model: nn.Module) -> Supernet:
    supernet = find_backbone(model)
    assert isinstance(supernet, Supernet)
    return supernet


def _head_choices(model: nn.Module) -> dict[str, ChoiceBlock]:
    """The choices outside the backbone, by name: those of a detector's head, tower by tower; a classifier has none."""
    inside = set(find_backbone(model).modules())
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, ChoiceBlock) and module not in inside
    }
