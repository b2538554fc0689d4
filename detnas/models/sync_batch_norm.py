"""BN with the statistics of the images of all processes."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from detnas.distributed import comm

PIXELS = (0, 2, 3)
"""The dimensions over which statistics are computed."""


class SyncBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` with training statistics of all processes' batches together, and with the same state dict.
    `torch.nn.SyncBatchNorm` does not run on CPUs."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        assert self.momentum is not None and self.running_mean is not None and self.running_var is not None
        mean, var, number = _statistics(x.detach())
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (number / (number - 1).clamp(min=1)), self.momentum)  # unbiased
            if self.num_batches_tracked is not None:
                self.num_batches_tracked += 1
        y: Tensor = _Normalize.apply(x, self.weight, self.bias, mean, var, number, self.eps)
        return y


def convert_sync_batch_norm(model: nn.Module) -> None:
    """Replace every `nn.BatchNorm2d` of `model` by a `SyncBatchNorm` with the same tensors."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                norm = SyncBatchNorm(child.num_features, child.eps, child.momentum, device="meta")
                norm.train(child.training)
                norm._parameters.update(child._parameters)
                norm._buffers.update(child._buffers)
                setattr(parent, name, norm)


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance (C,) of the `x` (N, C, H, W) of all processes, and the number of values a channel:
    computed from each process's mean and squared deviations from it, since sums of squares would cancel."""
    channels = x.shape[1]
    x = _precise(x)
    own = x.new_zeros(2 * channels + 1)
    if x.numel():
        var, mean = torch.var_mean(x, PIXELS, correction=0)
        numbers = x.numel() // channels
        own = torch.cat((mean, var * numbers, own.new_full((1,), numbers)))
    every = comm.all_gather(own)
    means, distances, weights = every[:, :channels], every[:, channels:-1], every[:, -1:]
    number = weights.sum()
    mean_of_all = (means * weights).sum(0) / number
    distances = distances + (means - mean_of_all).square() * weights
    return mean_of_all, distances.sum(0) / number, number


def _precise(x: Tensor) -> Tensor:
    """`x` in at least float32, in which PyTorch's BN computes sums under autocast, too."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class _Normalize(torch.autograd.Function):
    """BN with the statistics of all processes, through which the gradient flows, too."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, number: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, (var + eps).rsqrt(), number)
        return functional.batch_norm(x, mean, var, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse, number = ctx.saved_tensors
        gradient = _precise(gradients[0])
        centered = _precise(x) - mean[:, None, None]
        shift = gradient.sum(PIXELS)
        scale = (gradient * centered).sum(PIXELS) * inverse
        shift_of_all, scale_of_all = comm.all_reduce(torch.cat((shift, scale))).chunk(2)
        centered *= (scale_of_all * inverse / number)[:, None, None]
        below = (gradient - centered - (shift_of_all / number)[:, None, None]) * (weight * inverse)[:, None, None]
        return below.to(x.dtype), scale, shift, None, None, None, None
