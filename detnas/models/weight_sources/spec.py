"""What fills a backbone with learned weights, as the rest of detnas sees it."""

from typing import Protocol

from detnas.config import Preprocessing
from detnas.models.backbone import SpaceBackbone
from detnas.models.ops.shuffle import Shuffle
from detnas.spaces import SearchSpace


class WeightSource(Protocol):
    """Learned weights from which the networks of a search space begin."""

    where: str
    """What messages call it: a name, or its file."""
    digest: str
    """SHA-256, in hexadecimal, of what was read."""
    preprocessing: Preprocessing
    """How images became the input of the network that learned the weights."""
    shuffle: Shuffle
    """How the networks that it fills split channels, where they have the paper's ops."""

    def check(self, space: SearchSpace) -> None:
        """Raise `UserError`, with what does not fit, unless it fills the networks of `space`."""

    def fill(self, backbone: SpaceBackbone) -> None:
        """Overwrite all weights and BN statistics of a supernet or a single network, those of custom ops excepted if
        there are none for them. Raises `UserError` as `check`."""
