"""Batches as a function of the step: an interrupted training resumes with the next batch."""

import atexit
import multiprocessing
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from detnas.data.samples import Key
from detnas.distributed import comm
from detnas.utils.errors import UserError
from detnas.utils.seeds import derive_seed
from detnas.utils.signals import ignore_signals

PREFETCHED = 2
"""Batches that each worker prepares in advance."""


def generate_keys(
    size: int, batch_size: int, seed: int, start: int, stop: int, is_portrait: NDArray[np.bool_] | None = None
) -> Iterator[list[Key]]:
    """The keys of the samples of steps `start` to `stop` (exclusive): consecutive shuffled epochs, cut into batches.

    If `is_portrait` (size,) has at least a batch of True and of False, each batch is of one kind, and each kind has its
    own epochs: no sample is repeated before all of its kind were drawn. The fraction of steps of a kind is its fraction
    of the samples, in the first n steps rounded up or down. So after the steps of k epochs, every sample was drawn k
    times, except for fewer than a batch of each kind, which were drawn once more or less often.
    """
    kinds = [np.arange(size)]
    if is_portrait is not None and 1 < batch_size <= min(is_portrait.sum(), (~is_portrait).sum()):
        kinds = [np.flatnonzero(~is_portrait), np.flatnonzero(is_portrait)]
    phase = derive_seed(seed, "phase") % size
    portraits = size - len(kinds[0])
    before = (start * portraits + phase) // size  # the number of portrait batches before a step
    # These labels of random streams must not change, or runs could not be reproduced.
    streams = [
        _shuffled_epochs(kind, seed, label, batches * batch_size)
        for kind, label, batches in zip(kinds, ("epoch", "upright"), (start - before, before), strict=False)
    ]
    for step in range(start, stop):
        after = ((step + 1) * portraits + phase) // size
        indices = islice(streams[after - before], batch_size)
        yield [(index, derive_seed(seed, "sample", step * batch_size + n)) for n, index in enumerate(indices)]
        before = after


def _shuffled_epochs(samples: NDArray[np.int64], seed: int, label: str, place: int) -> Iterator[int]:
    """The samples from `place` on in an endless sequence of shuffled epochs."""
    while True:
        epoch, within = divmod(place, len(samples))
        rng = np.random.default_rng(derive_seed(seed, label, epoch))
        rest = samples[rng.permutation(len(samples))][within:].tolist()
        yield from rest
        place += len(rest)


def iterate_batches(
    samples: Any,
    collate: Callable[[Any], Any] | None,
    *,
    batch_size: int,
    seed: int,
    start: int,
    stop: int,
    workers: int,
) -> Generator[Any]:
    """The batches of steps `start` to `stop` (exclusive), the same for any number of workers.

    `collate` makes a batch of a list of samples. With several training processes, each gets its shard of every batch.
    Portrait images have batches of their own, if `samples` has an attribute `is_portrait`; see `generate_keys`. The
    workers live until the last step or until the generator is closed, and stay `PREFETCHED` batches ahead. Each uses
    one thread, and flushes denormals if the parent does. Raises the `UserError` that a worker raised.
    """
    loaders = count_loader_processes(workers)
    loader = DataLoader(
        samples,
        batch_sampler=(list(comm.shard(keys)) for keys in keys_of(samples, batch_size, seed, start, stop)),
        collate_fn=collate,
        num_workers=loaders,
        worker_init_fn=_begin_worker,
        prefetch_factor=PREFETCHED if loaders else None,
        # Forked workers share the memory of the data set. Python 3.14 no longer forks by default.
        multiprocessing_context="fork" if loaders and sys.platform == "linux" else None,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # without it, the workers' seeds are drawn from the global generator
    )
    try:
        yield from loader
    except UserError as error:
        # torch re-raises a worker's error with its traceback as the message, which ends in the original message.
        name = f"{UserError.__module__}.{UserError.__qualname__}: "
        raise UserError(str(error).rpartition(name)[2].strip()) from None


def keys_of(samples: Any, batch_size: int, seed: int, start: int, stop: int) -> Iterator[list[Key]]:
    """The keys of `samples` in steps `start` to `stop` (exclusive), those of all training processes."""
    return generate_keys(len(samples), batch_size, seed, start, stop, getattr(samples, "is_portrait", None))


def _begin_worker(worker: int) -> None:
    ignore_signals()


@atexit.register
def _end_workers() -> None:
    """Kill the workers of an unclosed generator: multiprocessing would send SIGTERM, which they ignore, and wait."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would report their deaths as errors
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


def count_loader_processes(workers: int) -> int:
    """The number of processes that load images if a recipe asks for `workers`: at most one per core."""
    return min(workers, comm.cores_per_process())
