"""A candidate's own BN statistics."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def recalibrate(detector: nn.Module, batches: Iterable[Sequence[Tensor]]) -> None:
    """Compute every BN statistic of `detector` afresh from batches of pictures (3, H, W) float in 0-1.

    For a copy that `extract_subnet` made: the supernet's shared statistics belong to no candidate, and must not be
    changed by one (paper, section 3.3). Only BN runs in training mode; no losses are computed and nothing is drawn
    at random. The statistics are plain averages over the batches: with PyTorch's usual momentum of 0.1 the last 19
    batches would be all that counts. As in PyTorch, the variance averaged is the unbiased one of each batch.
    """
    norms = [module for module in detector.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    detector.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average
        norm.train()
    for images in batches:
        detector(list(images))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
