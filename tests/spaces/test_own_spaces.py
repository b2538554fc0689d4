"""Spaces with other ops, and parts in place of a named space's own."""

from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from latency_tables import read_table, synthetic, write_table

from detnas.spaces import PAPER_OPS, Architecture, Budget, BudgetSampler, SearchSpace
from detnas.spaces import search_space as named
from detnas.spaces.budget import _Halves
from detnas.utils.errors import UserError

TWO = SearchSpace("two", 4, (8, 16), (2, 2), ("xception", "shuffle7"))


def test_costs_are_those_of_the_ops_by_name() -> None:
    of_all, of_two = replace(TWO, ops=PAPER_OPS).cost_table(), TWO.cost_table()
    for all_macs, macs in zip(of_all.of("macs"), of_two.of("macs"), strict=True):
        assert macs == {0: all_macs[PAPER_OPS.index("xception")], 1: all_macs[PAPER_OPS.index("shuffle7")]}
    assert TWO.size == 16
    assert TWO.uniform("shuffle7") == Architecture.parse("11 11")


def test_draws_within_a_budget_are_uniform_whatever_the_number_of_ops() -> None:
    for ops in (("xception", "shuffle7"), ("shuffle3", "shuffle5", "xception")):
        space = replace(TWO, ops=ops)
        every = [space.architecture(one) for one in product(range(len(ops)), repeat=4)]
        bound = sorted(space.cost(one).macs for one in every)[len(every) // 2]
        sampler = BudgetSampler(space, Budget(macs=(0, bound)))
        allowed = {one for one in every if space.cost(one).macs <= bound}
        assert sampler.share() == pytest.approx(len(allowed) / len(every))
        rng = np.random.default_rng(0)
        drawn = Counter(sampler.sample(rng) for _ in range(200 * len(allowed)))
        assert drawn.keys() == allowed
        assert min(drawn.values()) > 130 and max(drawn.values()) < 270


def test_a_space_too_large_to_count_is_refused() -> None:
    different = [{op: block + op for op in range(10)} for block in range(40)]
    with pytest.raises(UserError, match="10 ops in 40 blocks have too many costs"):
        _Halves(different, 0, 1)


def test_parts_stand_in_place_of_a_named_space_s_own() -> None:
    tiny = named("tiny")
    assert named("tiny", ops=PAPER_OPS) == tiny
    own = named("tiny", stem=8, channels=(12, 16, 20), repeats=(1, 2, 1), ops=("shuffle3", "m:Op"))
    assert own == SearchSpace("tiny-s8-c12.16.20-r1.2.1-2ops", 8, (12, 16, 20), (1, 2, 1), ("shuffle3", "m:Op"))
    assert named("tiny", 0.5, repeats=(1, 1, 1, 1)) == replace(
        named("tiny", 0.5), name="tiny-x0.5-r1.1.1.1", repeats=(1, 1, 1, 1)
    )


@pytest.mark.parametrize("width", [300, 1e30, 1e300])
def test_channels_beyond_every_network_are_refused(width: float) -> None:
    with pytest.raises(UserError, match="must be at most 65536"):
        named("tiny", width)


@pytest.mark.parametrize("parts", [{"channels": ()}, {"repeats": ()}, {"channels": (), "repeats": ()}, {"stem": 0}])
def test_parts_that_make_no_space_are_refused(parts: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="space tiny-"):
        named("tiny", **parts)


@pytest.mark.parametrize(
    ("ops", "said"),
    [
        ((), "one to 10, each named once"),
        (("shuffle3", "shuffle3"), "one to 10, each named once"),
        (tuple(f"m:Op{index}" for index in range(11)), "one to 10"),
        (("shufle3",), "op 'shufle3' is unknown; choose from shuffle3, .*, skip, or name a class"),
        (("os.system",), "op 'os.system' is unknown"),
        (("../evil:Op",), "is unknown"),
        (("a b:Op",), "is unknown"),
        (("m:Op\n",), "is unknown"),
    ],
)
def test_ops_that_cannot_be_are_refused(ops: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        replace(TWO, ops=ops)


def test_a_digit_that_stands_for_no_op_of_the_space_is_refused() -> None:
    with pytest.raises(UserError, match="architecture 12 00: op 2 is not one of 0-1, the ops of space two"):
        TWO.cost(Architecture.parse("12 00"))


def test_latencies_belong_to_their_ops(tmp_path: Path) -> None:
    table = synthetic(replace(TWO, ops=PAPER_OPS))
    with pytest.raises(UserError, match=r"a table of the ops shuffle3, .* does not fit space two with xception, sh"):
        TWO.cost_table(latencies=table)
    own = replace(table, blocks_us=tuple(row[:2] for row in table.blocks_us), ops=TWO.ops)
    assert TWO.cost_table(latencies=own).of("latency") == [dict(enumerate(row)) for row in own.blocks_us]
    for one in (table, own):
        write_table(tmp_path / "latencies.json", one)
        assert read_table(tmp_path / "latencies.json") == one
    with pytest.raises(ValueError, match=r"blocks_us.0 has 2 entries, not one for each of 3 ops"):
        replace(own, ops=("a", "b", "c"))
