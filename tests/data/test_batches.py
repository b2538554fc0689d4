"""Batches: one endless stream that can be entered at any step."""

from collections import Counter

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import Dataset

from detnas.data.batches import StepSampler, batches

SIZES = st.integers(1, 40)
BATCHES = st.integers(1, 50)


def keys(size: int, batch: int, seed: int, start: int, stop: int) -> list[list[tuple[int, int]]]:
    return list(StepSampler(size, batch, seed, start, stop))


@given(SIZES, BATCHES, st.integers(0, 2**31), st.integers(0, 12), st.integers(0, 12))
def test_the_stream_from_a_step_is_the_tail_of_the_stream(
    size: int, batch: int, seed: int, start: int, more: int
) -> None:
    whole = keys(size, batch, seed, 0, start + more)
    assert keys(size, batch, seed, start, start + more) == whole[start:]
    assert len(StepSampler(size, batch, seed, start, start + more)) == more


@given(SIZES, BATCHES, st.integers(0, 2**31))
def test_every_epoch_holds_every_index_once(size: int, batch: int, seed: int) -> None:
    steps = -(-3 * size // batch)  # three epochs and a little
    stream = [key for step in keys(size, batch, seed, 0, steps) for key in step]
    assert len(stream) == steps * batch
    for epoch in range(3):
        indices = Counter(index for index, _ in stream[epoch * size : (epoch + 1) * size])
        assert indices == Counter(range(size))
    assert len({sample_seed for _, sample_seed in stream}) == len(stream)  # no two draws of a picture alike


def test_epochs_and_seeds_are_shuffled_differently() -> None:
    first, second = keys(50, 50, 0, 0, 2)
    assert [index for index, _ in first] != [index for index, _ in second]
    assert [index for index, _ in first] != sorted(index for index, _ in first)
    assert keys(50, 50, 0, 0, 1) != keys(50, 50, 1, 0, 1)


class Keys(Dataset):
    """Gives the keys themselves."""

    def __len__(self) -> int:
        return 7

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, int]:
        return key


def stream(start: int, stop: int, workers: int = 0) -> list[list[tuple[int, int]]]:
    return list(batches(Keys(), list, batch=3, seed=5, start=start, stop=stop, workers=workers))


def test_batches_are_those_of_the_sampler_with_any_number_of_workers() -> None:
    expected = keys(7, 3, 5, 0, 8)
    assert stream(0, 8) == expected
    assert stream(3, 8) == expected[3:]
    assert stream(8, 8) == []
    assert stream(2, 8, workers=2) == expected[2:]


def test_drawing_batches_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    stream(0, 4)
    assert torch.equal(before, torch.get_rng_state())
