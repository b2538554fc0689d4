"""How one of several processes trains: on its part of the batch, with the gradients of the whole."""

import zlib

import torch
from torch import Tensor, nn

from detnas.config import Recipe
from detnas.distributed import comm
from detnas.models.sync_batch_norm import convert_sync_batch_norm
from detnas.training.state import TrainingState
from detnas.utils.errors import UserError


def prepare_data_parallel(model: nn.Module, sync_bn: bool) -> None:
    """Make `model` that of one of several processes: begin with the main one's weights and, with `sync_bn`, normalize
    by the whole batch. In a single process it stays as it is."""
    if comm.world_size() == 1:
        return
    # Generators of different CPUs need not draw the same weights.
    state = [tensor for tensor in model.state_dict().values() if tensor.is_floating_point()]
    _put(comm.broadcast(_flat(state)), state)
    if sync_bn:
        convert_sync_batch_norm(model)


def check_batches(recipe: Recipe) -> None:
    """Raise `UserError` if a batch cannot be divided evenly among the processes: their means would weigh unequally."""
    for name in ("supernet_pretrain", "supernet_finetune", "pretrain", "finetune"):
        batch = getattr(recipe, name).batch_size
        if batch % comm.world_size():
            raise UserError(
                f"{name}.batch_size = {batch}: cannot be divided evenly among {comm.world_size()} processes; set a "
                "multiple of their number, or start another number (--nproc-per-node)"
            )


def average(state: TrainingState, figures: Tensor) -> Tensor:
    """Replace the gradients and BN statistics of what ran by their means over all processes, so that these go on alike.

    Returns the means of `figures` (n,), which travel with them. In a single process nothing changes.
    """
    if comm.world_size() == 1:
        return figures
    gradients = []
    ran = []
    for number, parameter in enumerate(state.parameters):
        if parameter.grad is not None:
            gradients.append(parameter.grad)
            ran.append(number)
    _check_in_step(ran)
    statistics = [
        tensor
        for norm in state.norms
        if norm.weight.grad is not None
        for tensor in (norm.running_mean, norm.running_var)
        if tensor is not None
    ]
    tensors = [*gradients, *statistics]
    means = comm.all_reduce_mean(_flat([*tensors, figures]))
    _put(means, tensors)
    return means[-len(figures) :]


def _check_in_step(ran: list[int]) -> None:
    """Sums over different parameters would be silently wrong, or never end."""
    marks = comm.all_gather(torch.tensor([len(ran), zlib.crc32(str(ran).encode())]))
    if not (marks == marks[0]).all():
        raise RuntimeError(f"processes out of step: {marks[:, 0].tolist()} parameters have a gradient, by process")


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1).float() for tensor in tensors])


def _put(flat: Tensor, tensors: list[Tensor]) -> None:
    """Write into `tensors` what `_flat` made of such ones."""
    start = 0
    for tensor in tensors:
        tensor.detach().copy_(flat[start : start + tensor.numel()].view(tensor.shape))
        start += tensor.numel()
