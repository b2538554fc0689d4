"""Parsing YAML from strangers: in bounded time and memory, and without values in messages."""

import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from detnas.utils.yaml_text import MOST_LEVELS, parse_yaml

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 30)
)
MERGES = "a0: &a0 {x: 1, y: 2}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 9)
)
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 100))


@pytest.mark.parametrize(
    "text, reason",
    [
        (BOMB, "its aliases stand for more than 10,000 values"),
        (MERGES, "its aliases stand for more than 10,000 values"),
        ("a: &a [*a]", "an alias stands for what it is in in line 1, column 4"),
        ("a: &a {b: &b [*a]}", "an alias stands for what it is in"),
        (CHAIN, "it is nested too deep"),
        ("[" * 5000, "it is nested too deep"),
        ("[" * (MOST_LEVELS + 1) + "]" * (MOST_LEVELS + 1), "it is nested too deep"),
        ("- " * 20_000, "it is nested too deep"),
        ("[" + "x," * 20_000 + "]", "it has more than 10,000 values"),
        ("x" * 1_000_001, "it has more than 1,000,000 letters"),
        ("0x" + "f" * 5000, "a number or date of 5,002 letters in line 1, column 1"),
        ("a: 0b" + "1" * 5000, "a number or date of 5,002 letters in line 1, column 4"),
        ("1" * 5000, "a number or date of 5,000 letters"),
        ("[1:" + "1:" * 5000 + "1]", "a number or date of 10,003 letters"),
        ("a: 1\nb: [1, 2020-13-45]", "a value cannot be read; quote it if it is text in line 2, column 8"),
        ("!!int S3CRET", "a value cannot be read"),
        ("a: [me:S3CRET@host", "line 1, column 19"),
        ("*a", "found undefined alias"),
        ("a: \x00", "special characters are not allowed"),
        ("{[]: 1}", "found unhashable key"),
    ],
)
def test_what_is_too_large_or_no_yaml_is_refused_in_one_short_line(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)) as refused:
        parse_yaml(text, yaml.SafeLoader)
    message = str(refused.value)
    assert "S3CRET" not in message and "\n" not in message and len(message) < 300


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda one: st.lists(one), max_leaves=30))
@settings(max_examples=50, deadline=None)
def test_what_yaml_writes_is_read_back(value: object) -> None:
    assert parse_yaml(yaml.safe_dump(value), yaml.SafeLoader) == value


def test_aliases_and_merge_keys_within_the_bounds_are_read() -> None:
    text = "a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]"
    assert parse_yaml(text, yaml.SafeLoader) == {"a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": [{"x": 1}, {"x": 1}]}


def test_the_bound_on_values_is_the_callers() -> None:
    text = "[" + "x," * 20_000 + "]"
    assert len(parse_yaml(text, yaml.BaseLoader, most_nodes=30_000)) == 20_000
    assert parse_yaml("9" * 5000, yaml.BaseLoader) == "9" * 5000  # text is no number


def test_an_empty_text_is_nothing() -> None:
    assert parse_yaml("", yaml.SafeLoader) is None
