"""Batches as a function of the step: a run that was cut continues with the batch that came next."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from detnas.data.samples import Key
from detnas.errors import UserError
from detnas.seeds import seed_of


class StepSampler(Sampler[list[Key]]):
    """The keys of each step's samples: shuffled epochs in a row, cut into batches, from step `start` to `stop`."""

    def __init__(self, size: int, batch: int, seed: int, start: int, stop: int) -> None:
        self.size = size
        self.batch = batch
        self.seed = seed
        self.start = start
        self.stop = stop

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, order = -1, np.empty(0, np.int64)
        for step in range(self.start, self.stop):
            keys = []
            for place in range(step * self.batch, (step + 1) * self.batch):
                if place // self.size != epoch:
                    epoch = place // self.size
                    order = np.random.default_rng(seed_of(self.seed, "epoch", epoch)).permutation(self.size)
                keys.append((int(order[place % self.size]), seed_of(self.seed, "sample", place)))
            yield keys

    def __len__(self) -> int:
        return self.stop - self.start


def batches(
    samples: Any, collate: Callable[[Any], Any] | None, *, batch: int, seed: int, start: int, stop: int, workers: int
) -> Iterator[Any]:
    """The batches of steps `start` to `stop` (not included), alike for any number of workers.

    Raises the `UserError` that a worker raised.
    """
    loader = DataLoader(
        samples,
        batch_sampler=StepSampler(len(samples), batch, seed, start, stop),
        collate_fn=collate,
        num_workers=loading_processes(workers),
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # or it would draw its workers' seeds from the global one
    )
    try:
        yield from loader
    except UserError as error:
        # From a worker it comes with a traceback, of which the last line is its message.
        raise UserError(str(error).rstrip().rpartition(f"{UserError.__name__}: ")[2]) from None


def loading_processes(workers: int) -> int:
    """How many processes prepare pictures where a recipe asks for `workers`: one a core at most."""
    return min(workers, os.cpu_count() or 1)
