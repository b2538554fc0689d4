"""The budget of a recipe: numbers with units, both bounds, and the table of latencies."""

from math import inf
from pathlib import Path

import pytest
from latency_tables import synthetic, write_table
from recipes import refusal

from detnas.config import load_recipe
from detnas.spaces import Budget, search_space
from detnas.utils.errors import UserError


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("300M", 300e6),
        ("1.3G", 1.3e9),
        ("500k", 500e3),
        ("300000000", 300e6),
        ("3e8", 3e8),
        ("0", 0),
        # Exact, or the architecture that costs just this would be outside.
        ("262.705856M", 262_705_856),
        ("1.036681632G", 1_036_681_632),
        ("null", None),
    ],
)
def test_numbers_may_carry_a_unit(text: str, number: float | None, minimal: Path) -> None:
    assert load_recipe(minimal, [f"budget.macs_max={text}"]).budget.macs_max == number


def test_all_numbers_of_a_unit_are_exact(minimal: Path) -> None:
    for units in range(262_705_000, 262_706_000, 37):
        assert load_recipe(minimal, [f"budget.macs_max={units / 1e6:.6f}M"]).budget.macs_max == units


@pytest.mark.parametrize(
    "text", ["300m", "M", "300 MB", "three", "-1M", "1.2.3G", "[1]", "true", ".nan", ".inf", "nanM", "infG"]
)
def test_what_is_no_number_is_refused(text: str, minimal: Path) -> None:
    message = refusal(minimal, f"budget.macs_max={text}")
    assert "budget" in message and "macs_max" in message


def test_the_budget_has_both_ends(minimal: Path) -> None:
    recipe = load_recipe(minimal, ["budget.macs_min=280M", "budget.params_max=2M", "budget.size=320"])
    assert recipe.cost_budget() == Budget(macs=(280e6, inf), params=(0, 2e6), size=320)
    assert load_recipe(minimal, ["budget.macs_max=0"]).cost_budget().macs == (0, 0)


def test_latencies_are_bounded_in_milliseconds_by_a_table(
    minimal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = synthetic(search_space("small"))
    write_table(tmp_path / "table.json", table)
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(minimal, ["budget.latencies=table.json", "budget.latency_max=20.001"])
    # Absolute, since a run may be continued from another folder.
    assert recipe.budget.latencies == str(tmp_path / "table.json")
    assert recipe.cost_budget() == Budget(latency=(0, 20_001), latencies=table)
    assert load_recipe(minimal, ["budget.latencies=table.json"]).cost_budget() == Budget(latencies=table)
    (tmp_path / "table.json").unlink()
    with pytest.raises(UserError, match=r"budget.latencies = '.*/table.json': no such file"):
        recipe.cost_budget()


@pytest.mark.parametrize("bound", ["latency_min", "latency_max"])
def test_a_bound_on_the_latency_needs_a_table(bound: str, minimal: Path) -> None:
    message = refusal(minimal, f"budget.{bound}=12.5")
    assert f"budget: {bound} 12.5 needs a table of latencies" in message and "profile RECIPE --latency" in message
