"""A new op is one module and one line in the table: a skip that is not allowed everywhere, through the pipeline."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from latency_tables import read_table, write_table
from small_recipe import small_recipe
from test_op_contract import OpContract
from torch import nn

import detnas
from detnas.models.ops import OPS
from detnas.models.ops.shuffle import Shuffle
from detnas.models.weights import load_detector
from detnas.profiling.latency.backends import Eager
from detnas.profiling.latency.table import measure_table
from detnas.search.samplers import SAMPLERS
from detnas.search.samplers.evolution import crossover, mutate
from detnas.spaces import PAPER_OPS, Architecture, Block, Budget, BudgetSampler, Cost, SearchSpace, Size
from detnas.spaces import search_space as named
from detnas.training.paths import PathSampler
from detnas.utils.errors import UserError


class Skip:
    """An op that computes nothing. A block that changes stride or channels cannot be skipped."""

    def build(self, block: Block, shuffle: Shuffle) -> nn.Module:
        return nn.Identity()

    def cost(self, block: Block, size: Size) -> Cost:
        return Cost(macs=0, params=0)

    def is_allowed(self, block: Block) -> bool:
        return block.stride == 1 and block.in_channels == block.out_channels

    def seed(self, op: nn.Module, native: nn.Module) -> None:
        """It has no weights."""


@contextmanager
def in_the_table() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(OPS, "toy-skip", Skip())
        yield


@pytest.fixture(autouse=True, scope="module")
def _in_the_table() -> Iterator[None]:
    with in_the_table():
        yield


class TestSkip(OpContract):
    @pytest.fixture
    def op(self) -> str:
        return "toy-skip"


OWN = ("shuffle3", "toy-skip", "xception")
with in_the_table():
    SPACE = SearchSpace("skipping", 4, (8, 16, 24), (2, 3, 1), OWN)


def every(space: SearchSpace) -> list[Architecture]:
    """All architectures of a space, from all that are written with its digits."""
    written = map(space.architecture, product(range(len(space.ops)), repeat=len(space.blocks)))
    return [one for one in written if all(op != 1 or place not in (0, 2, 5) for place, op in enumerate(one.ops))]


def test_the_papers_spaces_stay_as_they_are() -> None:
    assert set(OPS) > set(PAPER_OPS)
    for name, blocks in (("small", 20), ("large", 40), ("tiny", 10)):
        space = named(name)
        assert space.ops == PAPER_OPS == ("shuffle3", "shuffle5", "shuffle7", "xception")
        assert space.size == 4**blocks
    assert small_recipe().search_space().ops == PAPER_OPS


def test_a_space_holds_what_its_blocks_can_be() -> None:
    assert SPACE.allowed_ops == ((0, 2), (0, 1, 2), (0, 2), (0, 1, 2), (0, 1, 2), (0, 2))
    assert SPACE.size == len(every(SPACE)) == 2**3 * 3**3
    with pytest.raises(
        UserError, match=r"op 1 \(toy-skip\) is not allowed at block 0 of space skipping; choose from 0, 2"
    ):
        SPACE.uniform("toy-skip")
    with pytest.raises(UserError, match="none of toy-skip may stand at a block of"):
        SearchSpace("nothing", 4, (8,), (2,), ("toy-skip",)).check(Architecture.parse("00"))


def test_draws_are_uniform() -> None:
    rng = np.random.default_rng(0)
    drawn = Counter(SPACE.draw(rng) for _ in range(200 * SPACE.size))
    assert drawn.keys() == set(every(SPACE))
    assert min(drawn.values()) > 130 and max(drawn.values()) < 270  # a standard deviation is 14


@given(st.integers(0, 2**32), st.integers(1, 4))
def test_where_all_ops_are_allowed_draws_are_those_of_old(seed: int, number: int) -> None:
    """The random streams of spaces without such ops, which results on record hang on."""
    space = SearchSpace(f"{number}-ops", 4, (8, 16), (2, 3), PAPER_OPS[:number])
    ours, plain = np.random.default_rng(seed), np.random.default_rng(seed)
    assert list(space.draw(ours).ops) == plain.integers(number, size=5).tolist()
    orders = plain.permuted(np.tile(np.arange(number), (5, 1)), axis=1)
    assert [list(one.ops) for one in space.fair_draw(ours)] == orders.T.tolist()
    assert ours.random() == plain.random()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_counting_within_a_budget_is_exact(data: st.DataObject) -> None:
    costs = {one: SPACE.cost(one, 64) for one in every(SPACE)}
    cost = data.draw(st.sampled_from(["macs", "params"]))
    attained = sorted({getattr(one, cost) for one in costs.values()})
    low, high = sorted(data.draw(st.tuples(st.sampled_from(attained), st.sampled_from(attained))))
    within = {one for one, its in costs.items() if low <= getattr(its, cost) <= high}
    sampler = BudgetSampler(SPACE, Budget(**{cost: (low, high)}, size=64))
    assert sampler.share() == len(within) / SPACE.size
    rng = np.random.default_rng(0)
    assert {sampler.sample(rng) for _ in range(20)} <= within
    # Those that are not allowed are not within the budget, and asking is no error.
    written = map(SPACE.architecture, product(range(3), repeat=6))
    assert {one for one in written if sampler.allows(one)} == within


def test_draws_within_a_budget_are_uniform() -> None:
    costs = {one: SPACE.cost(one, 64).macs for one in every(SPACE)}
    middle = sorted(costs.values())[SPACE.size // 2]
    within = {one for one, macs in costs.items() if macs <= middle}
    sampler = BudgetSampler(SPACE, Budget(macs=(0, middle), size=64))
    rng = np.random.default_rng(0)
    drawn = Counter(sampler.sample(rng) for _ in range(200 * len(within)))
    assert drawn.keys() == within
    assert min(drawn.values()) > 130 and max(drawn.values()) < 270


def test_blocks_of_equal_cost_that_can_be_other_ops_are_not_exchanged() -> None:
    """The first block is as costly as the second by either op that both can be, for there are no costs at all."""

    class Free(Skip):
        def is_allowed(self, block: Block) -> bool:
            return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(OPS, "toy-free", Free())
        patch.setitem(OPS, "toy-free-too", Free())
        space = SearchSpace("free", 4, (8, 12), (2, 2), ("toy-free", "toy-skip", "toy-free-too"))
        sampler = BudgetSampler(space, Budget())
        assert sampler.share() == 1.0 and space.size == 36
        rng = np.random.default_rng(0)
        drawn = Counter(sampler.sample(rng) for _ in range(36 * 200))
        assert len(drawn) == 36 and all(space.allows(one) for one in drawn)
        assert min(drawn.values()) > 130 and max(drawn.values()) < 270


@given(st.integers(0, 2**32))
def test_fair_paths_hold_every_op_of_every_block_equally_often(seed: int) -> None:
    drawn = PathSampler(SPACE, is_fair=True).draw(np.random.default_rng(seed))
    assert len(drawn) == 3
    for allowed, chosen in zip(SPACE.allowed_ops, zip(*(path.ops for path in drawn), strict=True), strict=True):
        counts = Counter(chosen)
        assert counts.keys() == set(allowed)
        assert max(counts.values()) - min(counts.values()) <= (len(allowed) < 3)


def test_of_two_ops_in_three_paths_either_is_the_one_that_stands_twice() -> None:
    rng = np.random.default_rng(0)
    firsts = [path.ops[0] for _ in range(2000) for path in SPACE.fair_draw(rng)]
    assert abs(firsts.count(0) - 3000) < 5 * 2000**0.5 / 2


@given(st.integers(0, 2**32), st.floats(0.1, 1))
def test_children_are_allowed_where_their_parents_are(seed: int, probability: float) -> None:
    rng = np.random.default_rng(seed)
    parents = [SPACE.draw(rng) for _ in range(3)]
    SPACE.check(mutate(SPACE, parents, probability, rng))
    SPACE.check(crossover(SPACE, parents, rng))


def test_latencies_are_measured_where_the_op_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detnas.profiling.latency.table.rounds", lambda: iter([False, True]))
    measured, _, check = measure_table(SPACE, torch.rand(1, 3, 64, 64), Eager(torch.device("cpu")))
    known = tuple(tuple(op for op, latency in enumerate(row) if latency is not None) for row in measured.blocks_us)
    assert known == SPACE.allowed_ops
    write_table(tmp_path / "table.json", measured)
    assert read_table(tmp_path / "table.json") == measured
    assert [tuple(row) for row in SPACE.cost_table(latencies=measured).of("latency")] == list(SPACE.allowed_ops)
    for architecture in check.architectures:
        SPACE.check(architecture)
    everywhere = tuple(tuple(latency or 1 for latency in row) for row in measured.blocks_us)
    with pytest.raises(
        UserError, match=r"budget\.latencies: has no latency of an op that space skipping allows, or has"
    ):
        SPACE.cost_table(latencies=type(measured)(**{**vars(measured), "blocks_us": everywhere}))


def number_of_skips(architecture: Architecture) -> float:
    return architecture.ops.count(1) + architecture.ops.count(2) / 8


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_proposes_it_where_it_is_allowed(sampler: str, tmp_path: Path) -> None:
    second = {"second_objective": "macs"} if sampler == "nsga2" else {}
    settings = {"sampler": sampler, "evaluations": 40, "population": 10, "num_mutations": 4, "num_crossovers": 4}
    best = detnas.search(number_of_skips, SPACE, tmp_path / "search", **settings, **second)
    tried = candidates(tmp_path / "search")
    assert len(set(tried)) == 40
    for architecture in tried:
        SPACE.check(architecture)
    assert any(1 in architecture.ops for architecture in tried) and SPACE.allows(best)


def candidates(folder: Path) -> list[Architecture]:
    """What a search evaluated."""
    lines = (folder / "candidates.jsonl").read_text().splitlines()
    return [Architecture.parse(json.loads(line)["architecture"]) for line in lines]


def test_it_goes_through_the_pipeline(tmp_path: Path) -> None:
    recipe = small_recipe(
        space__ops=["shuffle3", "toy-skip"],
        supernet_pretrain__paths="fair",
        supernet_finetune__paths="fair",
        baselines=["random"],
    )
    out = detnas.run(recipe, out=tmp_path / "run")
    space = recipe.search_space()
    assert space.size == 2**10 // 2**4
    tried = candidates(out / "search")
    assert len(set(tried)) == 6 and all(map(space.allows, tried))
    assert any(1 in architecture.ops for architecture in tried)
    detector, info = load_detector(out / "detector.safetensors")
    assert info.space == space and not detector.training
    assert "toy-skip" in (out / "report.html").read_text()
