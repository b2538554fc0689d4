"""Batches: one endless stream that can be entered at any step."""

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import Dataset

from detnas.data.batches import generate_keys, iterate_batches
from detnas.distributed.device import choose_device
from detnas.utils.errors import UserError

SIZES = st.integers(1, 40)
BATCHES = st.integers(1, 50)


def keys(
    size: int, batch_size: int, seed: int, start: int, stop: int, upright: list[bool] | None = None
) -> list[list[tuple[int, int]]]:
    kinds = None if upright is None else np.array(upright, np.bool_)
    return list(generate_keys(size, batch_size, seed, start, stop, kinds))


@given(SIZES, BATCHES, st.integers(0, 2**31), st.integers(0, 12), st.integers(0, 12))
def test_the_stream_from_a_step_is_the_tail_of_the_stream(
    size: int, batch_size: int, seed: int, start: int, more: int
) -> None:
    whole = keys(size, batch_size, seed, 0, start + more)
    assert keys(size, batch_size, seed, start, start + more) == whole[start:]
    assert len(whole) == start + more


@given(SIZES, BATCHES, st.integers(0, 2**31))
def test_every_epoch_holds_every_index_once(size: int, batch_size: int, seed: int) -> None:
    steps = -(-3 * size // batch_size)  # three epochs and a little
    stream = [key for step in keys(size, batch_size, seed, 0, steps) for key in step]
    assert len(stream) == steps * batch_size
    for epoch in range(3):
        indices = Counter(index for index, _ in stream[epoch * size : (epoch + 1) * size])
        assert indices == Counter(range(size))
    assert len({sample_seed for _, sample_seed in stream}) == len(stream)  # no two draws of an image alike


def test_epochs_and_seeds_are_shuffled_differently() -> None:
    first, second = keys(50, 50, 0, 0, 2)
    assert [index for index, _ in first] != [index for index, _ in second]
    assert [index for index, _ in first] != sorted(index for index, _ in first)
    assert keys(50, 50, 0, 0, 1) != keys(50, 50, 1, 0, 1)


@given(st.integers(2, 6), st.lists(st.booleans(), min_size=2, max_size=60), st.integers(0, 2**31), st.integers(0, 9))
def test_batches_by_aspect(batch_size: int, upright: list[bool], seed: int, start: int) -> None:
    size = len(upright)
    counts = {kind: upright.count(kind) for kind in (False, True)}
    steps = -(-3 * size // batch_size)
    whole = keys(size, batch_size, seed, 0, steps, upright)
    assert keys(size, batch_size, seed, min(start, steps), steps, upright) == whole[start:]
    assert len({sample_seed for step in whole for _, sample_seed in step}) == steps * batch_size
    if min(counts.values()) < batch_size:
        assert whole == keys(size, batch_size, seed, 0, steps)
        return
    drawn: dict[bool, list[int]] = {False: [], True: []}
    for done, step in enumerate(whole, start=1):
        (kind,) = {upright[index] for index, _ in step}  # one kind a batch
        drawn[kind] += [index for index, _ in step]
        for one, count in counts.items():  # its share of the steps
            assert abs(len(drawn[one]) / batch_size - done * count / size) < 1
    for kind, count in counts.items():
        members = [index for index in range(size) if upright[index] == kind]
        for epoch in range(len(drawn[kind]) // count):
            assert sorted(drawn[kind][epoch * count : (epoch + 1) * count]) == members
        if 3 * size % batch_size == 0:
            times = Counter(drawn[kind])
            odd = [index for index in members if times[index] != 3]
            assert len(odd) < batch_size and all(abs(times[index] - 3) == 1 for index in odd)


def test_images_of_one_aspect_are_batched_as_without_regard_to_it() -> None:
    for upright in ([True] * 30, [False] * 30):
        assert keys(30, 4, 1, 0, 20, upright) == keys(30, 4, 1, 0, 20)
    mixed = [True, False] * 15
    assert keys(30, 1, 1, 0, 20, mixed) == keys(30, 1, 1, 0, 20)  # nothing to pad
    assert keys(30, 4, 1, 0, 20, mixed) != keys(30, 4, 1, 0, 20)


class Keys(Dataset):
    """Gives the keys themselves."""

    def __len__(self) -> int:
        return 7

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, int]:
        return key


def stream(start: int, stop: int, workers: int = 0) -> list[list[tuple[int, int]]]:
    return list(iterate_batches(Keys(), list, batch_size=3, seed=5, start=start, stop=stop, workers=workers))


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


def test_batches_are_grouped_by_what_the_samples_say() -> None:
    samples = Keys()
    samples.is_portrait = np.array([True, False, True, False, True, False, True])
    for workers in (0, 2):
        found = list(iterate_batches(samples, list, batch_size=3, seed=5, start=2, stop=8, workers=workers))
        assert found == keys(7, 3, 5, 2, 8, samples.is_portrait.tolist())


class Refused(Keys):
    def __getitem__(self, key: tuple[int, int]) -> tuple[int, int]:
        raise UserError("a.png: this image cannot be decoded (UserError: no); replace it")


@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_worker_refuses_is_said_in_one_line(workers: int) -> None:
    with pytest.raises(UserError) as refusal:
        list(iterate_batches(Refused(), list, batch_size=3, seed=5, start=0, stop=2, workers=workers))
    assert str(refusal.value) == "a.png: this image cannot be decoded (UserError: no); replace it"


class SetUp(Keys):
    """Threads, and whether denormals are flushed."""

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, int]:
        return torch.get_num_threads(), int((torch.tensor([1e-39]) * 1.0).item() == 0)


def test_workers_have_one_thread_and_flush_denormals() -> None:
    choose_device("cpu")
    (found,) = iterate_batches(SetUp(), list, batch_size=2, seed=0, start=0, stop=1, workers=1)
    assert found == [(1, 1), (1, 1)]


def test_a_process_with_an_open_generator_ends() -> None:
    """Its workers ignore SIGTERM, by which multiprocessing would end them."""
    code = """
from detnas.data.batches import iterate_batches

class Keys:
    def __len__(self):
        return 10

    def __getitem__(self, key):
        return key

stream = iterate_batches(Keys(), list, batch_size=2, seed=0, start=0, stop=50, workers=1)
next(stream)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0 and "Traceback" not in ended.stderr, ended.stderr
