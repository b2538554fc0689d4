"""Latency tables: what a file keeps, what is refused, and what networks cost by them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from latency_tables import synthetic

from detnas.spaces import Budget, BudgetSampler, Cost, read_latencies, search_space
from detnas.spaces.latency import write_latencies
from detnas.utils.errors import UserError

TINY = search_space("tiny")
TABLE = synthetic(TINY)


def test_a_file_gives_the_table_back(tmp_path: Path) -> None:
    write_latencies(tmp_path / "table.json", [TABLE], check={"mean error": 0.01})
    (again,) = read_latencies(tmp_path / "table.json")
    assert again == TABLE and hash(again) == hash(TABLE)
    assert json.loads((tmp_path / "table.json").read_text())["check"] == {"mean error": 0.01}


def test_a_networks_latency_is_the_sum_over_its_blocks() -> None:
    costs = TINY.cost_table(224, TABLE)
    ops = [3, 0, 1, 1, 2, 0, 3, 2, 1, 0]
    cost = costs.cost(TINY.architecture(ops))
    assert cost.latency == 500 + sum(row[op] for row, op in zip(TABLE.blocks_us, ops, strict=True))
    plain = TINY.cost(TINY.architecture(ops))
    assert (plain.macs, plain.params, plain.latency) == (cost.macs, cost.params, 0)


def test_a_latency_is_told_in_milliseconds_where_it_is_known() -> None:
    assert Cost(1_000_000, 20_000, 12_345).in_millions() == "1.0M MACs, 0.02M params, 12.3 ms"
    assert Cost(1_000_000, 20_000).in_millions() == "1.0M MACs, 0.02M params"
    assert Cost(1, 2, 12_345).facts() == {"macs": 1, "params": 2, "latency_ms": 12.345}
    assert Cost(1, 2).facts() == {"macs": 1, "params": 2}


def changed(**fields: Any) -> str:
    tree = {**vars(TABLE), **fields}
    return json.dumps({"tables": [{name: value for name, value in tree.items() if value is not ...}]})


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("no JSON", ["JSON"]),
        ("[]", ["object"]),
        ("{}", ["tables", "required"]),
        ('{"tables": []}', ["tables", "at least 1"]),
        (changed(space=...), ["space", "required"]),
        (changed(stem_us=0), ["stem_us", "greater than 0"]),
        (changed(threads="2"), ["threads", "integer"]),
        (changed(backend="tvm"), ["backend", "onnxruntime"]),
        (changed(blocks_us=[[1, 2, 3]]), ["blocks_us.0", "4 ops"]),
        (changed(blocks_us=[[1, 2, 3, 4.5]]), ["blocks_us.0.3", "integer"]),
        (changed(stem_us=10**18), ["stem_us", "less than"]),
        (changed(stem_us=1).replace('"stem_us": 1', '"stem_us": ' + "9" * 20_000), ["out of range"]),
        (changed(stem_us=1).replace('"stem_us": 1', '"stem_us": NaN'), ["stem_us"]),
        (changed(device="a" * 10**6), ["device", "1000 characters"]),
        (changed(blocks_us=[[1, 2, 3, 4]] * 10**4), ["blocks_us", "200"]),
        (changed(ops=["a"] * 11), ["ops", "10"]),
        ("[" * 10**5, ["recursion"]),
        ("1" * (2**22 + 1), ["larger than 4 MB"]),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(text: str, named: list[str], tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    file.write_text(text)
    with pytest.raises(UserError) as refusal:
        read_latencies(file)
    message = str(refusal.value)
    assert message.startswith(str(file)) and "profile RECIPE --latency" in message and "\n" not in message
    assert all(word in message for word in named), message


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"budget.latencies = '.*none.json': no such file; name a table"):
        read_latencies(tmp_path / "none.json")


@pytest.mark.parametrize("table", [synthetic(search_space("small")), replace(TABLE, blocks_us=TABLE.blocks_us[1:])])
def test_a_table_of_another_space_is_refused(table: Any) -> None:
    with pytest.raises(
        UserError, match=r"budget.latencies: a table of space \w+ \(\d+ blocks\) does not fit space tiny"
    ):
        BudgetSampler(TINY, Budget(latencies=table))


def test_a_table_whose_equal_blocks_differ_is_refused() -> None:
    # The sampler counts on their being interchangeable.
    rows = list(TABLE.blocks_us)
    rows[5] = (1, 2, 3, 4)
    with pytest.raises(
        UserError, match=r"budget.latencies: equal blocks of space tiny have different rows; measure one"
    ):
        TINY.cost_table(224, replace(TABLE, blocks_us=tuple(rows)))


def test_bounds_without_a_table_are_refused() -> None:
    with pytest.raises(UserError, match=r"budget.latency: bounds need a table of measured latencies; measure one"):
        Budget(latency=(0, 5000))


def test_a_bound_out_of_reach_is_refused_with_the_range_in_milliseconds() -> None:
    least = 500 + sum(map(min, TABLE.blocks_us))
    with pytest.raises(UserError) as refusal:
        BudgetSampler(TINY, Budget(latency=(0, least - 1), latencies=TABLE))
    message = str(refusal.value)
    assert message.startswith("budget.latency: no backbone of space tiny has 0.000 to ")
    assert f"there are {least / 1e3:,.3f} to " in message and "96x128 pixels on a device, eager" in message
