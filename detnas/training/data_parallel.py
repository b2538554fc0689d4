"""Data-parallel training: each process trains on its shard of the batch, with the gradients of the whole batch."""

import zlib

import torch
from torch import Tensor, nn

from detnas.config import Recipe
from detnas.distributed import comm
from detnas.models.sync_batch_norm import convert_sync_batch_norm
from detnas.training.state import TrainingState
from detnas.utils.errors import UserError


def prepare_data_parallel(model: nn.Module, sync_bn: bool) -> None:
    """With several processes, give `model` the main one's weights and, with `sync_bn`, BN over the whole batch."""
    if comm.world_size() == 1:
        return
    # The random generators of different CPUs need not draw the same weights.
    state = [tensor for tensor in model.state_dict().values() if tensor.is_floating_point()]
    _unflatten_into(state, comm.broadcast(_flatten(state)))
    if sync_bn:
        convert_sync_batch_norm(model)


def check_batches(recipe: Recipe) -> None:
    """Raise `UserError` if a batch cannot be divided evenly: the means of the processes would not have equal weight."""
    unused = {"supernet_pretrain": not recipe.pretrains_supernet, "pretrain": not recipe.pretrains}
    for name in ("supernet_pretrain", "supernet_finetune", "pretrain", "finetune"):
        batch = getattr(recipe, name).batch_size
        if batch % comm.world_size() and not unused.get(name):
            raise UserError(
                f"{name}.batch_size = {batch}: cannot be divided evenly among {comm.world_size()} processes; set a "
                "multiple of their number, or start another number (--nproc-per-node)"
            )


def average_gradients(state: TrainingState, metrics: Tensor) -> Tensor:
    """Replace the gradients of a step and the BN statistics that it changed by their means over all processes.

    Returns the means of `metrics`, float32 (n,), which are sent along. In a single process nothing changes.
    """
    if comm.world_size() == 1:
        return metrics
    gradients = {index: one.grad for index, one in enumerate(state.parameters) if one.grad is not None}
    _check_in_step(list(gradients))
    statistics = [
        tensor
        for norm in state.norms
        if norm.weight.grad is not None
        for tensor in (norm.running_mean, norm.running_var)
        if tensor is not None
    ]
    tensors = [*gradients.values(), *statistics]
    means = comm.all_reduce_mean(_flatten([*tensors, metrics]))
    _unflatten_into(tensors, means)
    return means[-len(metrics) :]


def _check_in_step(indices: list[int]) -> None:
    """Raise `RuntimeError` unless the parameters with a gradient, by index, are the same in all processes.

    Otherwise the sum over the processes would be silently wrong, or never end.
    """
    marks = comm.all_gather(torch.tensor([len(indices), zlib.crc32(str(indices).encode())]))
    if not (marks == marks[0]).all():
        raise RuntimeError(f"processes out of step: {marks[:, 0].tolist()} parameters have a gradient, by process")


def _flatten(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1).float() for tensor in tensors])


def _unflatten_into(tensors: list[Tensor], flat: Tensor) -> None:
    """Copy the values of `flat`, made by `_flatten` of tensors of these shapes, into `tensors`."""
    start = 0
    for tensor in tensors:
        tensor.detach().copy_(flat[start : start + tensor.numel()].view(tensor.shape))
        start += tensor.numel()
