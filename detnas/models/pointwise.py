"""1x1 convolutions on one thread of a CPU."""

import torch
from torch import nn


def dilate_pointwise(model: nn.Module) -> None:
    """Let torch compute the 1x1 convolutions of a model by oneDNN if it has only one thread.

    Then it takes a slower way of its own for them (`use_mkldnn` in its Convolution.cpp), unless they are dilated. What
    a kernel of one pixel computes does not depend on its dilation.
    """
    if torch.get_num_threads() > 1:
        return
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
            module.dilation = (2, 2)
