"""How the layers of mobile networks are made, where published networks differ."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LayerStyle:
    """Padding of convolutions and epsilon of BN."""

    padding: Literal["symmetric", "tensorflow"]
    """Of convolutions of stride 2. `symmetric`: kernel // 2 pixels on each side. `tensorflow`: on images of even sides
    one pixel less on the left and above."""
    bn_eps: float


EFFICIENTNET_LITE = LayerStyle(padding="tensorflow", bn_eps=1e-3)
