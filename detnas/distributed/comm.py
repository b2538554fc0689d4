"""Communication between the processes of a run that torchrun starts, on one machine or several.

In a single process there is no process group, and every function returns its input. Messages are bytes (JSON, or a
format of the caller), never pickles. They travel as CPU tensors by gloo; tensors on GPUs travel by NCCL.
"""

import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from detnas.utils.errors import UserError
from detnas.utils.signals import StopRequested

T = TypeVar("T")
COLLECTIVE_TIMEOUT = timedelta(minutes=30)
"""How long a process waits for the others. The main process never works alone (scores, drawing, report) for so long."""
MESSAGE_TIMEOUT = timedelta(seconds=10)
"""How long a process that ends waits until another one has printed why the job ends."""


class ProcessLostError(Exception):
    """Another process of the run has ended."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}; {_how_to_continue()}")


def _how_to_continue() -> str:
    arguments = shlex.join(sys.argv[1:])
    where = "" if _local_world_size() == world_size() else " on each machine"
    return (
        "the same command continues from the last checkpoint, on any number of processes that divides each batch: "
        f"torchrun --nproc-per-node={_local_world_size()} … -m detnas {arguments}{where}"
    )


def is_launched_by_torchrun() -> bool:
    """Whether torchrun started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1


@contextmanager
def process_group() -> Iterator[None]:
    """Join the process group of the processes that torchrun started until the block ends; do nothing in a single one.

    Sets torch's number of threads to this process's share of the cores. An error in one process ends all of them, and
    one line on standard error says why: a `UserError` with exit status 2, the end of another process with status 1,
    a request to stop with status 0 for SIGTERM and 128 plus the signal's number otherwise.
    """
    if not is_launched_by_torchrun():
        yield
        return
    torch.set_num_threads(cores_per_process())
    store, rank, world_size = next(rendezvous("env://", timeout=COLLECTIVE_TIMEOUT))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=COLLECTIVE_TIMEOUT)
    try:
        yield
    except (UserError, ProcessLostError) as error:
        _end(store, str(error), 2 if isinstance(error, UserError) else 1)
    except StopRequested as stopped:
        # torchrun forwards a scheduler's SIGTERM, and sends SIGTERM itself to the processes that outlive another one.
        is_sigterm = stopped.signal == signal.SIGTERM
        sender = " by SIGTERM, from a scheduler, or from torchrun because another process has ended"
        reason = f"stopped{sender if is_sigterm else ''}; {_how_to_continue()}"
        _end(store, reason, 0 if is_sigterm else stopped.exit_status)
    dist.destroy_process_group()


def rank() -> int:
    """This process's rank, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """The number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main_process() -> bool:
    """Whether this is the process of rank 0, which writes files and reports progress."""
    return rank() == 0


def cores_per_process() -> int:
    """The number of CPU cores of this machine for each of its processes, at least 1."""
    return max(1, (os.cpu_count() or 1) // _local_world_size())


def local_rank() -> int:
    """This process's rank among those of its machine, which is also the index of its GPU."""
    return int(os.environ["LOCAL_RANK"]) if dist.is_initialized() else 0


def shard(items: Sequence[T]) -> Sequence[T]:
    """This rank's contiguous part of `items`; the parts of all ranks, in order, are `items`."""
    return items[rank() * len(items) // world_size() : (rank() + 1) * len(items) // world_size()]


def shard_indices(size: int, batch_size: int) -> list[int]:
    """This rank's part of the indices 0 to `size` - 1: every `world_size`-th batch of `batch_size` consecutive ones."""
    return [index for index in range(size) if index // batch_size % world_size() == rank()]


def broadcast_from_main(compute: Callable[[], T]) -> T:
    """Call `compute` in the main process; all return its JSON-serializable result or raise its `UserError`."""
    if world_size() == 1:
        return compute()
    value: T = json.loads(broadcast_bytes(lambda: json.dumps(compute()).encode()))
    return value


def broadcast_bytes(compute: Callable[[], bytes]) -> bytes:
    """`broadcast_from_main` of bytes."""
    if world_size() == 1:
        return compute()
    with raise_on_all_ranks():
        payload = compute() if is_main_process() else b""
    length = all_reduce_int(len(payload))
    body = _to_tensor(payload) if is_main_process() else torch.empty(length, dtype=torch.uint8)
    if length:
        with _communication():
            dist.broadcast(body, 0)
    return body.numpy().tobytes()


def all_gather_bytes(payload: bytes) -> list[bytes]:
    """The payloads of all processes, which may differ in length, in the order of their ranks."""
    if world_size() == 1:
        return [payload]
    lengths = [torch.empty(1, dtype=torch.int64) for _ in range(world_size())]
    with _communication():
        dist.all_gather(lengths, torch.tensor([len(payload)]))
        longest = max(int(length) for length in lengths)
        padded = [torch.empty(longest, dtype=torch.uint8) for _ in lengths]
        if longest:
            dist.all_gather(padded, _to_tensor(payload.ljust(longest, b"\0")))
    return [one[: int(length)].numpy().tobytes() for one, length in zip(padded, lengths, strict=True)]


def all_reduce_int(number: int) -> int:
    """The sum of `number` over all processes."""
    return number if world_size() == 1 else int(all_reduce(torch.tensor(int(number))))  # a sum of bools would be one


def all_reduce(tensor: Tensor) -> Tensor:
    """The sum of `tensor` over all processes, on its device. A new tensor without gradient; `tensor` is not changed."""
    if world_size() == 1:
        return tensor
    summed = tensor.detach().clone()
    with _communication():
        dist.all_reduce(summed)
    return summed


def all_reduce_mean(tensor: Tensor) -> Tensor:
    """The mean of `tensor` over all processes, on its device. No gradient flows through it."""
    return all_reduce(tensor) / world_size()


def broadcast(tensor: Tensor) -> Tensor:
    """The main process's tensor in every process; `tensor` must have the same shape and dtype everywhere."""
    tensor = tensor.detach().clone()
    with _communication():
        dist.broadcast(tensor, 0)
    return tensor


def all_gather(tensor: Tensor) -> Tensor:
    """The tensors of all processes, stacked by rank: (world size, *shape). No gradient flows through it."""
    tensors = [torch.empty_like(tensor) for _ in range(world_size())]
    with _communication():
        dist.all_gather(tensors, tensor)
    return torch.stack(tensors)


@contextmanager
def raise_on_all_ranks() -> Iterator[None]:
    """Raise a `UserError` of one process in all of them at the end of the block, which must not communicate itself."""
    if world_size() == 1:
        yield
        return
    message = ""
    try:
        yield
    except UserError as error:
        message = str(error)
    for received in all_gather_bytes(message.encode()):
        if received:
            raise UserError(received.decode())


def check_same_on_all_ranks(what: str, value: str) -> None:
    """Raise `UserError` in all processes if `value` is not the same everywhere."""
    values = [each.decode() for each in all_gather_bytes(value.encode())]
    for number, other in enumerate(values):
        if other != values[0]:
            raise UserError(
                f"{what}: {values[0]} on rank 0, {other} on rank {number}; it must be the same on all machines"
            )


def _local_world_size() -> int:
    return int(os.environ["LOCAL_WORLD_SIZE"]) if dist.is_initialized() or is_launched_by_torchrun() else 1


def _to_tensor(payload: bytes) -> Tensor:
    return torch.frombuffer(bytearray(payload), dtype=torch.uint8) if payload else torch.empty(0, dtype=torch.uint8)


@contextmanager
def _communication() -> Iterator[None]:
    """Raise what torch raises when other processes cannot be reached as `ProcessLostError`."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).partition("\n")[0].partition("] ")[2].partition(". ")[0] or type(error).__name__
        raise ProcessLostError(f"another process of this run has ended or does not answer ({reason})") from error


def _end(store: Any, message: str, status: int) -> NoReturn:
    """Exit with `status`. The first process that comes here prints the message, the others wait until it is printed."""
    try:
        if store.add("ending", 1) == 1:
            _print_error(message)
            store.set("printed", "")
        else:
            store.wait(["printed"], MESSAGE_TIMEOUT)
    except RuntimeError:  # the machine that kept the store is gone
        _print_error(message)
    os._exit(status)  # a normal exit would wait for the other processes


def _print_error(message: str) -> None:
    print(f"detnas: {message}", file=sys.stderr, flush=True)
