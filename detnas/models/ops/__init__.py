"""The ops that blocks can be: `OPS` has all of detnas's, `custom` those that users bring.

To add one, write a module with its `OpSpec`, and add a line here. `tests/contracts/test_op_contract.py` tests it.
Importing the table must not import torch, since costs are counted without it: an op imports torch when it is built.
"""

from detnas.models.ops.layer_style import EFFICIENTNET_LITE
from detnas.models.ops.mobile import MBConvOp, SkipOp
from detnas.models.ops.shufflenet import ShuffleOp
from detnas.models.ops.spec import OpSpec

__all__ = ["OPS", "MBConvOp", "OpSpec", "ShuffleOp", "SkipOp"]

OPS: dict[str, OpSpec] = {
    "shuffle3": ShuffleOp(kernel=3),
    "shuffle5": ShuffleOp(kernel=5),
    "shuffle7": ShuffleOp(kernel=7),
    "xception": ShuffleOp(kernel=3, is_xception=True),
    "shuffle3_half": ShuffleOp(kernel=3, width=0.5),
    "shuffle3_wide": ShuffleOp(kernel=3, width=1.5),
    "shuffle5_half": ShuffleOp(kernel=5, width=0.5),
    "shuffle5_wide": ShuffleOp(kernel=5, width=1.5),
    "mbconv6_k3": MBConvOp(expansion=6, kernel=3, style=EFFICIENTNET_LITE),
    "mbconv6_k5": MBConvOp(expansion=6, kernel=5, style=EFFICIENTNET_LITE),
    "mbconv3_k3": MBConvOp(expansion=3, kernel=3, style=EFFICIENTNET_LITE),
    "mbconv3_k5": MBConvOp(expansion=3, kernel=5, style=EFFICIENTNET_LITE),
    "skip": SkipOp(),
}
"""By the name that `space.ops` gives them. A search space without `ops` of its own has `detnas.spaces.PAPER_OPS`."""
