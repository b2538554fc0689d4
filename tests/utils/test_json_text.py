"""Parsing JSON from strangers."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detnas.utils.json_text import parse_json


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is not JSON: Expecting value at letter 0"),
        ("{", "it is not JSON"),
        ("[1] 2", "it is not JSON: Extra data at letter 4"),
        ('{"a": 1, "b": {"c": 1, "c": 1}}', "it holds a key twice"),
        ("[NaN]", "it holds NaN, which is no number"),
        ("-Infinity", "it holds -Infinity, which is no number"),
        ("1e400", "it holds a number that is too large"),
        ("[-1e999999]", "it holds a number that is too large"),
        ("9" * 5000, "digits"),
        ("[" * 100_000, "it is nested too deep"),
        ('{"a":' * 100_000, "it is nested too deep"),
        (b"\xff\xfe\xfd", "it is not text"),
    ],
)
def test_what_is_no_sound_json_is_refused_in_one_line(text: str | bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)) as refused:
        parse_json(text)
    assert "\n" not in str(refused.value)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
        | st.text(),
        lambda one: st.lists(one) | st.dictionaries(st.text(), one),
        max_leaves=20,
    )
)
@settings(deadline=None)
def test_what_json_writes_is_read_back(value: object) -> None:
    assert parse_json(json.dumps(value)) == value
