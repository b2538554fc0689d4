"""Several processes of one run, as torchrun starts them, on one machine or on more.

In a single process there is no group, and everything here does nothing. Messages are bytes (JSON, or what the caller
makes of them), never pickles: they travel as tensors on the CPU, by gloo; what lies on GPUs travels by NCCL.
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

PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others: longer than the first one ever works alone (scores, drawing, report)."""

SAYING = timedelta(seconds=10)
"""How long a process waits for another to have said why the job ends."""


class ProcessLostError(Exception):
    """Another process of the run has ended."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; {_how_to_go_on()}")


def _how_to_go_on() -> str:
    words = shlex.join(sys.argv[1:])
    where = "" if _local_world_size() == world_size() else " on each machine"
    return (
        "the same command continues from the last checkpoint, on any number of processes that divides each batch: "
        f"torchrun --nproc-per-node={_local_world_size()} … -m detnas {words}{where}"
    )


def is_launched_by_torchrun() -> bool:
    """Whether torchrun started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1


@contextmanager
def process_group() -> Iterator[None]:
    """Be one of the processes that torchrun started until the block ends; alone, do nothing.

    Sets the threads to this process's share of the cores. An error of any process ends them all: what the user must
    mend is said once, as one line on standard error, with exit status 2; so is a process that died, with status 1, and
    that all were asked to stop, with status 0 after a scheduler's warning.
    """
    if not is_launched_by_torchrun():
        yield
        return
    torch.set_num_threads(cores_per_process())
    store, number, of = next(rendezvous("env://", timeout=PATIENCE))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=number, world_size=of, timeout=PATIENCE)
    try:
        yield
    except (UserError, ProcessLostError) as error:
        _end(store, str(error), 2 if isinstance(error, UserError) else 1)
    except StopRequested as stopped:
        # torchrun passes a scheduler's warning on by the signal with which it ends those that outlive another.
        by_term = stopped.signal == signal.SIGTERM
        why = (
            "stopped by SIGTERM, a scheduler's or torchrun's because another process has ended"
            if by_term
            else "stopped"
        )
        _end(store, f"{why}; {_how_to_go_on()}", 0 if by_term else 128 + stopped.signal)
    dist.destroy_process_group()


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main_process() -> bool:
    """Whether this is the process that writes, and that says where the work stands."""
    return rank() == 0


def cores_per_process() -> int:
    """This process's share of its machine's cores."""
    return max(1, (os.cpu_count() or 1) // _local_world_size())


def local_rank() -> int:
    """The number of this process among those of its machine: the GPU that it computes on."""
    return int(os.environ["LOCAL_RANK"]) if dist.is_initialized() else 0


def split_by_rank(items: Sequence[T]) -> Sequence[T]:
    """This process's part of `items`: those of all processes, in order, are `items`."""
    return items[rank() * len(items) // world_size() : (rank() + 1) * len(items) // world_size()]


def shard(size: int, batch_size: int) -> list[int]:
    """This process's indices of `size` that are taken in batches of `batch`: every so manieth batch, whole."""
    return [index for index in range(size) if index // batch_size % world_size() == rank()]


def broadcast_from_main(compute: Callable[[], T]) -> T:
    """What `compute` gives in the first process, in all of them; it must be JSON's. Elsewhere it is not called.

    Raises in all of them the `UserError` that it raises.
    """
    if world_size() == 1:
        return compute()
    value: T = json.loads(broadcast_bytes(lambda: json.dumps(compute()).encode()))
    return value


def broadcast_bytes(compute: Callable[[], bytes]) -> bytes:
    """The same of bytes."""
    if world_size() == 1:
        return compute()
    payload, error = b"", None
    if is_main_process():
        try:
            payload = compute()
        except UserError as raised:
            payload, error = str(raised).encode(), raised
    head = torch.tensor([len(payload), error is not None])
    body = _tensor(payload)
    with _communication():
        dist.broadcast(head, 0)
        body = body if is_main_process() else torch.empty(int(head[0]), dtype=torch.uint8)
        if head[0]:
            dist.broadcast(body, 0)
    if head[1]:
        raise error or UserError(_bytes(body).decode())
    return _bytes(body)


def all_gather(payload: bytes) -> list[bytes]:
    """What each process gives, by rank."""
    if world_size() == 1:
        return [payload]
    lengths = [torch.empty(1, dtype=torch.int64) for _ in range(world_size())]
    with _communication():
        dist.all_gather(lengths, torch.tensor([len(payload)]))
        longest = max(int(length) for length in lengths)
        pieces = [torch.empty(longest, dtype=torch.uint8) for _ in lengths]
        if longest:
            dist.all_gather(pieces, _tensor(payload.ljust(longest, b"\0")))
    return [_bytes(piece[: int(length)]) for piece, length in zip(pieces, lengths, strict=True)]


def any_rank(flag: bool) -> bool:
    """Whether `flag` is set in any of the processes."""
    return all_reduce(int(flag)) > 0


def all_reduce(number: int) -> int:
    """The sum over the processes."""
    return number if world_size() == 1 else int(all_reduce_tensor(torch.tensor(number)))


def all_reduce_tensor(tensor: Tensor) -> Tensor:
    """The sum over the processes, on the device of `tensor`; no gradient flows through it."""
    if world_size() == 1:
        return tensor
    summed = tensor.detach().clone()
    with _communication():
        dist.all_reduce(summed)
    return summed


def all_reduce_mean(tensor: Tensor) -> Tensor:
    """The mean over the processes; no gradient flows through it."""
    return all_reduce_tensor(tensor) / world_size()


def broadcast_tensor(tensor: Tensor) -> Tensor:
    """The first process's tensor, in all of them; theirs must be of its shape."""
    tensor = tensor.detach().clone()
    with _communication():
        dist.broadcast(tensor, 0)
    return tensor


def all_gather_tensor(tensor: Tensor) -> Tensor:
    """The tensors of all processes (count, *shape), by rank; no gradient flows through it."""
    tensors = [torch.empty_like(tensor) for _ in range(world_size())]
    with _communication():
        dist.all_gather(tensors, tensor)
    return torch.stack(tensors)


@contextmanager
def raise_on_all_ranks() -> Iterator[None]:
    """A `UserError` that any process raises in the block is raised in all of them at its end.

    Nothing in the block may wait for another process.
    """
    if world_size() == 1:
        yield
        return
    message = ""
    try:
        yield
    except UserError as error:
        message = str(error)
    for said in all_gather(message.encode()):
        if said:
            raise UserError(said.decode())


def check_same_on_all_ranks(what: str, value: str) -> None:
    """Raise `UserError` in all processes if `value` is not the same everywhere."""
    values = [each.decode() for each in all_gather(value.encode())]
    for number, other in enumerate(values):
        if other != values[0]:
            raise UserError(
                f"{what}: {values[0]} in process 0, {other} in process {number}; it must be the same on all machines"
            )


def _local_world_size() -> int:
    return int(os.environ["LOCAL_WORLD_SIZE"]) if dist.is_initialized() or is_launched_by_torchrun() else 1


def _tensor(payload: bytes) -> Tensor:
    return torch.frombuffer(bytearray(payload), dtype=torch.uint8) if payload else torch.empty(0, dtype=torch.uint8)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.numpy().tobytes()


@contextmanager
def _communication() -> Iterator[None]:
    """What torch raises when the others cannot be reached, as `ProcessLostError`."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).partition("\n")[0].partition("] ")[2].partition(". ")[0] or type(error).__name__
        raise ProcessLostError(f"another process of this run has ended or does not answer ({reason})") from error


def _end(store: Any, message: str, status: int) -> NoReturn:
    """End this process; the first that comes here says why, the others wait until that is said."""
    try:
        if store.add("ending", 1) == 1:
            _say(message)
            store.set("said", "")
        else:
            store.wait(["said"], SAYING)
    except RuntimeError:  # the store is gone with the machine that kept it
        _say(message)
    os._exit(status)  # an orderly end would wait for the others


def _say(message: str) -> None:
    print(f"detnas: {message}", file=sys.stderr, flush=True)
