"""What a Python file of a network has of its family's own: the code of the modules, and the constants.

A file is written for networks whose ops are all their family's, or `skip`.
"""

from abc import ABC, abstractmethod
from types import ModuleType
from typing import Any

from detnas.models.families.mobile import Mobile
from detnas.models.families.shufflenet import ShuffleNet
from detnas.models.ops import MBConvOp, ShuffleOp, SkipOp, channels_last, layer_style, mbconv, shuffle
from detnas.models.weights import BackboneInfo, DetectorInfo
from detnas.spaces.ops import find_family


class FamilyCode(ABC):
    """The part of a file that differs between families."""

    modules: tuple[ModuleType, ...]
    """Whose text is written, without docstring and imports."""
    build: str
    """The code of `make_stem` and `make_op`, which follows the constants."""
    blocks: str
    """The docstring of BLOCKS."""

    @abstractmethod
    def constants(self, info: BackboneInfo | DetectorInfo) -> dict[str, tuple[Any, str]]:
        """Further constants: value and docstring by name."""

    @abstractmethod
    def settings(self, op: object) -> tuple[float, ...] | None:
        """What BLOCKS says of an op beside its block, nothing of `skip`; None if the op is not the family's."""


class ShuffleNetCode(FamilyCode):
    """Of the paper's networks."""

    modules = (channels_last, shuffle)
    build = """
def make_stem() -> nn.Module:
    return Stem(STEM)


def make_op(block: Block, *settings: float) -> nn.Module:
    return Op(block, *settings, SHUFFLE) if settings else nn.Identity()
"""
    blocks = (
        "The network: each block, its kernel, whether its main branch is Xception's, its inner channels over half of "
        "the output's; without these it is left out."
    )

    def constants(self, info: BackboneInfo | DetectorInfo) -> dict[str, tuple[Any, str]]:
        return {"SHUFFLE": (info.shuffle, "How blocks split channels.")}

    def settings(self, op: object) -> tuple[float, ...] | None:
        if isinstance(op, ShuffleOp):
            return (op.kernel, op.is_xception, op.width)
        return () if isinstance(op, SkipOp) else None


class MobileCode(FamilyCode):
    """Of mobile networks."""

    modules = (channels_last, layer_style, mbconv)
    build = """
def make_stem() -> nn.Module:
    return MobileStem(STEM, FIRST_BLOCK, STYLE)


def make_op(block: Block, *settings: int) -> nn.Module:
    return MBConv(block, *settings, STYLE) if settings else nn.Identity()
"""
    blocks = "The network: each block, its expansion, its kernel; without these it is left out."

    def __init__(self, family: Mobile) -> None:
        self.family = family

    def constants(self, info: BackboneInfo | DetectorInfo) -> dict[str, tuple[Any, str]]:
        return {
            "FIRST_BLOCK": (info.space.first_block, "Channels of the fixed block that follows it, if there is one."),
            "STYLE": (self.family.style, "How the layers are made."),
        }

    def settings(self, op: object) -> tuple[float, ...] | None:
        if isinstance(op, MBConvOp) and op.style == self.family.style:
            return (op.expansion, op.kernel)
        return () if isinstance(op, SkipOp) else None


def family_code(name: str) -> FamilyCode:
    """The code of the family `name`, one of `detnas.models.families.FAMILIES`."""
    family = find_family(name)
    if isinstance(family, Mobile):
        return MobileCode(family)
    assert isinstance(family, ShuffleNet)
    return ShuffleNetCode()
