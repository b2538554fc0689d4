"""Batches as a function of the step: a run that was cut continues with the batch that came next."""

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
"""Batches that each loading process prepares ahead."""


class StepSampler(Sampler[list[Key]]):
    """The keys of each step's samples, from step `start` to `stop`: shuffled epochs in a row, cut into batches.

    Where `upright` (size,) has at least a batch of either kind, each batch is of one kind, and each kind has its own
    epochs: none of its samples comes again before all have come. A kind's share of the steps is its share of the
    samples: of the first n steps, rounded up or down. So after as many steps as make k epochs of all, every sample has
    come k times, but for fewer of a kind than a batch has, which have come once more or less.
    """

    def __init__(
        self, size: int, batch_size: int, seed: int, start: int, stop: int, upright: NDArray[np.bool_] | None = None
    ) -> None:
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self.start = start
        self.stop = stop
        kinds = [np.arange(size)]
        if upright is not None and 1 < batch_size <= min(upright.sum(), (~upright).sum()):
            kinds = [np.flatnonzero(~upright), np.flatnonzero(upright)]
        self.kinds = kinds

    def __iter__(self) -> Iterator[list[Key]]:
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
        """The kind of a step's batch, and how many batches of this kind come before it."""
        if len(self.kinds) == 1:
            return 0, step
        phase = derive_seed(self.seed, "phase") % self.size
        before, after = ((steps * len(self.kinds[1]) + phase) // self.size for steps in (step, step + 1))
        return (1, before) if after > before else (0, step - before)


class _Stream:
    """Shuffled epochs of samples, one after another."""

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


def batches(
    samples: Any,
    collate: Callable[[Any], Any] | None,
    *,
    batch_size: int,
    seed: int,
    start: int,
    stop: int,
    workers: int,
) -> Generator[Any]:
    """The batches of steps `start` to `stop` (not included), alike for any number of workers.

    Of several training processes, each has its part of every batch.
    Upright images, where `samples.upright` tells them, have batches of their own. The workers live until the last
    step or until the generator is closed, each `PREFETCHED` batches ahead, with one thread and the parent's flushing of
    denormals. Raises the `UserError` that a worker raised.
    """
    loaders = loading_processes(workers)
    loader = DataLoader(
        samples,
        batch_sampler=(list(comm.shard(keys)) for keys in _sampler(samples, batch_size, seed, start, stop)),
        collate_fn=collate,
        num_workers=loaders,
        worker_init_fn=_begin_worker,
        prefetch_factor=PREFETCHED if loaders else None,
        # Forked, they share the data set's memory. Python 3.14 no longer forks by itself.
        multiprocessing_context="fork" if loaders and sys.platform == "linux" else None,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # or it would draw its workers' seeds from the global one
    )
    try:
        yield from loader
    except UserError as error:
        # From a worker it comes as a traceback, which ends in its message.
        name = f"{UserError.__module__}.{UserError.__qualname__}: "
        raise UserError(str(error).rpartition(name)[2]) from None


def step_keys(samples: Any, batch_size: int, seed: int, step: int) -> list[Key]:
    """The keys of one step's samples, of all training processes."""
    return next(iter(_sampler(samples, batch_size, seed, step, step + 1)))


def _sampler(samples: Any, batch_size: int, seed: int, start: int, stop: int) -> StepSampler:
    return StepSampler(len(samples), batch_size, seed, start, stop, getattr(samples, "upright", None))


def _begin_worker(worker: int) -> None:
    ignore_signals()


@atexit.register
def _end_workers() -> None:
    """Where a generator was left open: multiprocessing would send SIGTERM, which they ignore, and wait for ever."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would complain of their deaths
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


def loading_processes(workers: int) -> int:
    """How many processes prepare images where a recipe asks for `workers`: one a core at most."""
    return min(workers, comm.cores_per_process())
