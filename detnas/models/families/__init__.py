"""The families of networks that search spaces name: `FAMILIES`.

To add one, write a module with its `Family`, and add a line here. Importing the table must not import torch, since
costs are counted without it.
"""

from detnas.models.families.mobile import Mobile
from detnas.models.families.shufflenet import ShuffleNet
from detnas.models.families.spec import Family
from detnas.models.ops.layer_style import EFFICIENTNET_LITE

__all__ = ["FAMILIES", "Family"]

FAMILIES: dict[str, Family] = {
    "shufflenet": ShuffleNet(),
    "efficientnet-lite": Mobile(EFFICIENTNET_LITE),
}
"""By the name in `SearchSpace.family`."""
