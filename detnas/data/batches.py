"""Batches as a function of the step: an interrupted training resumes with the next batch."""

import atexit
import multiprocessing
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler

from detnas.data.samples import Key
from detnas.distributed import comm
from detnas.utils.errors import UserError
from detnas.utils.seeds import derive_seed
from detnas.utils.signals import ignore_signals

PREFETCHED = 2
"""Batches that each worker prepares in advance."""


class StepSampler(Sampler[list[Key]]):
    """The keys of the samples of steps `start` to `stop` (exclusive): consecutive shuffled epochs, cut into batches.

    If `is_portrait` (size,) has at least a batch of True and of False, each batch is of one kind, and each kind has its
    own epochs: no sample is repeated before all of its kind were drawn. The fraction of steps of a kind is its fraction
    of the samples, in the first n steps rounded up or down. So after the steps of k epochs, every sample was drawn k
    times, except for fewer than a batch of each kind, which were drawn once more or less often.
    """

    def __init__(
        self, size: int, batch_size: int, seed: int, start: int, stop: int, is_portrait: NDArray[np.bool_] | None = None
    ) -> None:
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self.start = start
        self.stop = stop
        kinds = [np.arange(size)]
        if is_portrait is not None and 1 < batch_size <= min(is_portrait.sum(), (~is_portrait).sum()):
            kinds = [np.flatnonzero(~is_portrait), np.flatnonzero(is_portrait)]
        self.kinds = kinds

    def __iter__(self) -> Iterator[list[Key]]:
        # These labels of random streams must not change, or runs could not be reproduced.
        streams = [_Stream(kind, self.seed, name) for kind, name in zip(self.kinds, ("epoch", "upright"), strict=False)]
        for step in range(self.start, self.stop):
            kind, turn = self._turn(step)
            places = range(turn * self.batch_size, (turn + 1) * self.batch_size)
            first = step * self.batch_size
            yield [
                (streams[kind][place], derive_seed(self.seed, "sample", first + number))
                for number, place in enumerate(places)
            ]

    def __len__(self) -> int:
        return self.stop - self.start

    def _turn(self, step: int) -> tuple[int, int]:
        """The kind of a step's batch, and the number of earlier batches of this kind."""
        if len(self.kinds) == 1:
            return 0, step
        phase = derive_seed(self.seed, "phase") % self.size
        before, after = ((steps * len(self.kinds[1]) + phase) // self.size for steps in (step, step + 1))
        return (1, before) if after > before else (0, step - before)


class _Stream:
    """An endless sequence of samples: shuffled epochs, one after another."""

    def __init__(self, samples: NDArray[np.int64], seed: int, name: str) -> None:
        self.samples = samples
        self.seed = seed
        self.name = name
        self.epoch = -1
        self.order = np.empty(0, np.int64)

    def __getitem__(self, place: int) -> int:
        epoch, within = divmod(place, len(self.samples))
        if epoch != self.epoch:
            rng = np.random.default_rng(derive_seed(self.seed, self.name, epoch))
            self.epoch, self.order = epoch, self.samples[rng.permutation(len(self.samples))]
        return int(self.order[within])


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
    Portrait images have batches of their own, if `samples` has an attribute `is_portrait`; see `StepSampler`. The
    workers live until the last step or until the generator is closed, and stay `PREFETCHED` batches ahead. Each uses
    one thread, and flushes denormals if the parent does. Raises the `UserError` that a worker raised.
    """
    loaders = count_loader_processes(workers)
    loader = DataLoader(
        samples,
        batch_sampler=(list(comm.shard(keys)) for keys in _sampler(samples, batch_size, seed, start, stop)),
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
        raise UserError(str(error).rpartition(name)[2]) from None


def get_step_keys(samples: Any, batch_size: int, seed: int, step: int) -> list[Key]:
    """The keys of one step's samples, those of all training processes."""
    return next(iter(_sampler(samples, batch_size, seed, step, step + 1)))


def _sampler(samples: Any, batch_size: int, seed: int, start: int, stop: int) -> StepSampler:
    return StepSampler(len(samples), batch_size, seed, start, stop, getattr(samples, "is_portrait", None))


def _begin_worker(worker: int) -> None:
    ignore_signals()


@atexit.register
def _end_workers() -> None:
    """Kill the workers of a generator that was not closed: multiprocessing would send SIGTERM, which they ignore, and
    wait forever."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would report their deaths as errors
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


def count_loader_processes(workers: int) -> int:
    """The number of processes that load images if a recipe asks for `workers`: at most one per core."""
    return min(workers, comm.cores_per_process())
