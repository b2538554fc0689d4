"""Recipes on a base: what is merged, what is replaced, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from recipes import refusal
from small_recipe import small_tree, write_recipe

from detnas.config import FPNSettings, RetinaNetSettings, load_recipe
from detnas.config.loading import _merge


def write(file: Path, **tree: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(tree))
    return file


def test_a_recipe_takes_from_its_base_what_it_does_not_say(tmp_path: Path) -> None:
    base = load_recipe(write_recipe(tmp_path / "base.yaml"))
    child = write(
        tmp_path / "child.yaml",
        base="base.yaml",
        name="child",
        data={"shapes": {"train": 30}},
        search={"population": 4},
        baselines=[],
    )
    recipe = load_recipe(child)
    expected = base.model_dump()
    expected["name"] = "child"
    expected["data"]["shapes"]["train"] = 30
    expected["search"]["population"] = 4
    expected["baselines"] = ()
    assert recipe.model_dump() == expected


def test_a_base_may_have_a_base_and_stand_in_another_folder(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    write_recipe(tmp_path / "shared" / "first.yaml")
    write(tmp_path / "shared" / "second.yaml", base="first.yaml", name="second", seed=11, init="fan_in")
    third = write(tmp_path / "mine" / "third.yaml", base="../shared/second.yaml", name="third", seed=12)
    recipe = load_recipe(third, ["search.population=5"])
    assert (recipe.name, recipe.seed, recipe.init, recipe.search.population) == ("third", 12, "fan_in", 5)
    absolute = write(tmp_path / "mine" / "fourth.yaml", base=str(third), name="fourth")
    assert load_recipe(absolute).seed == 12


def test_a_recipe_that_is_shipped_can_be_a_base(tmp_path: Path) -> None:
    child = write(tmp_path / "child.yaml", base="shapes-quick", name="mine", search={"evaluations": 10})
    recipe, base = load_recipe(child), load_recipe("shapes-quick")
    assert recipe.search.evaluations == 10
    assert recipe.model_copy(update={"name": base.name, "search": base.search}) == base


def test_a_section_of_another_type_replaces_the_bases(tmp_path: Path) -> None:
    write_recipe(tmp_path / "base.yaml", "retinanet", detector__min_size=40)
    other = write(tmp_path / "fpn.yaml", base="base.yaml", name="x", detector={"type": "fpn", "max_size": 900})
    assert load_recipe(other).detector == FPNSettings(max_size=900)
    for same in ({"type": "retinanet", "max_size": 90}, {"max_size": 90}):
        detector = load_recipe(write(tmp_path / "same.yaml", base="base.yaml", name="x", detector=same)).detector
        assert isinstance(detector, RetinaNetSettings)
        assert (detector.min_size, detector.max_size, detector.candidates) == (40, 90, 30)


def test_a_runs_own_recipe_can_be_a_base(tmp_path: Path) -> None:
    tree = small_tree() | {"versions": {"torch": "2"}, "data_directory": "/data", "data_fingerprint": "ab"}
    write(tmp_path / "run" / "recipe.yaml", **tree)
    child = write(tmp_path / "child.yaml", base="run/recipe.yaml", name="again", seed=9)
    assert load_recipe(child).seed == 9


trees = st.recursive(
    st.integers() | st.none() | st.lists(st.integers(), max_size=2),
    lambda values: st.dictionaries(st.sampled_from("abc"), values, max_size=3),
    max_leaves=8,
)
sections = st.dictionaries(st.sampled_from("abc"), trees, max_size=3)


def leaves(tree: dict[str, Any], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    found: dict[tuple[str, ...], Any] = {}
    for key, value in tree.items():
        found |= leaves(value, (*path, key)) if isinstance(value, dict) else {(*path, key): value}
    return found


@given(sections, sections)
def test_what_the_child_says_stands_and_the_rest_is_the_bases(under: dict[str, Any], over: dict[str, Any]) -> None:
    merged = leaves(_merge(under, over))
    said, base = leaves(over), leaves(under)
    assert said.items() <= merged.items()
    for path, value in merged.items():
        assert path in said or base[path] == value
    # What the child neither says nor replaces by something above or below it is still there.
    for path, value in base.items():
        if not any(path[: len(other)] == other or other[: len(path)] == path for other in said):
            assert merged.get(path, value) == value


def test_the_bases_sections_are_not_changed() -> None:
    under = {"a": {"b": 1, "c": {"d": 2}}}
    assert _merge(under, {"a": {"c": {"d": 3}}}) == {"a": {"b": 1, "c": {"d": 3}}}
    assert under == {"a": {"b": 1, "c": {"d": 2}}}


def test_a_name_is_not_handed_down(tmp_path: Path) -> None:
    write_recipe(tmp_path / "base.yaml")
    assert "name is missing" in refusal(write(tmp_path / "child.yaml", base="base.yaml"))


def test_an_unknown_base_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    message = refusal(write(tmp_path / "child.yaml", base="shapes-quik", name="x"))
    assert message.startswith(f"{tmp_path / 'child.yaml'}: base: recipe 'shapes-quik'")
    assert "did you mean shapes-quick?" in message
    message = refusal(write(tmp_path / "child.yaml", base="not/here.yaml", name="x"))
    assert "not/here.yaml" in message and "no such recipe or file" in message


@pytest.mark.parametrize("base", [["a.yaml", "b.yaml"], 3, None, {"name": "x"}])
def test_a_base_that_is_no_name_is_refused(base: Any, tmp_path: Path) -> None:
    message = refusal(write(tmp_path / "child.yaml", base=base, name="x"))
    assert f"base = {base!r}" in message and "name one recipe or file" in message


def test_a_circle_of_bases_is_refused(tmp_path: Path) -> None:
    one = write(tmp_path / "one.yaml", base="two.yaml", name="one")
    write(tmp_path / "two.yaml", base="folder/../one.yaml", name="two")
    (tmp_path / "folder").mkdir()
    message = refusal(one)
    assert "is circular" in message and "one.yaml" in message and "two.yaml" in message
    itself = write(tmp_path / "itself.yaml", base="itself.yaml", name="x")
    assert "is circular" in refusal(itself)


def test_an_error_names_the_recipe_and_its_bases(tmp_path: Path) -> None:
    base = write(tmp_path / "base.yaml", **(small_tree() | {"seeed": 3}))
    child = write(tmp_path / "child.yaml", base="base.yaml", name="x")
    assert refusal(child) == f"{child} on {base}: unknown key seeed; did you mean seed?"
    write(tmp_path / "base.yaml", name="x").write_text("[1]")
    assert refusal(child) == f"{base}: not a recipe; it must hold keys such as name, space, detector"
