"""What the networks of a search space share outside their choice blocks."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from detnas.spaces.cost import Cost, Size
from detnas.spaces.space import SearchSpace

if TYPE_CHECKING:  # counting costs needs no torch
    from torch import nn


class Family(Protocol):
    """The stem, the classifier's head and the initialization: a line of `detnas.models.families.FAMILIES`."""

    def build_stem(self, space: SearchSpace) -> "nn.Module":
        """The stem, with fresh weights: images (N, 3, H, W) float to (N, space.stem_channels, H / 2, W / 2), sizes
        rounded up."""

    def stem_cost(self, space: SearchSpace, size: Size) -> Cost:
        """MACs and parameters of the stem for an image of `size`."""

    def build_head(self, channels: int, head_channels: int, num_classes: int, dropout: float) -> "nn.Sequential":
        """The head of an ImageNet classifier, with fresh weights: (N, channels, H, W) to logits (N, num_classes)."""

    def initialize(self, stem: "nn.Module", modules: Iterable["nn.Module"]) -> None:
        """Draw the weights of a backbone: of these `modules`, its own without those of custom ops, and of its `stem`,
        which is among them."""
