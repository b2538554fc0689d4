"""Recipes that are read: complete, minimal, and those that come with detnas; and files that are no recipes."""

from pathlib import Path

import pytest
import yaml
from recipes import COMPLETE, MINIMAL, dump, refusal, write_tree

from detnas.config import FPNSettings, RetinaNetSettings, load_recipe, recipe_names
from detnas.config.auto import fill_usual
from detnas.spaces import Budget, BudgetSampler, search_space


def test_a_complete_recipe_is_read(complete: Path) -> None:
    recipe = load_recipe(complete)
    given = yaml.safe_load(COMPLETE)
    assert recipe.data.shapes is not None and recipe.data.shapes.crops == 20
    assert isinstance(recipe.detector, FPNSettings)
    assert recipe.detector.anchor_sizes == (8, 16, 32, 64, 96)
    assert recipe.supernet_pretrain.lr == 1e-3 and recipe.supernet_pretrain.scale_jitter == (0.5, 2)
    assert recipe.finetune.steps == 50 and recipe.finetune.schedule == "cosine"
    assert recipe.supernet_pretrain.macs_bins == (5e6, 10e6, 20e6)
    assert (recipe.supernet_pretrain.paths_per_step(4), recipe.supernet_finetune.paths_per_step(4)) == (1, 4)
    assert recipe.baselines == ("random",)
    assert (recipe.budget.macs_min, recipe.budget.macs_max) == (5e6, 20e6)
    assert (recipe.budget.params_min, recipe.budget.params_max) == (10_000, 500_000)
    # Every key of every section stands in the text above, so that none is forgotten here.
    dumped = recipe.model_dump(mode="json")
    assert dumped.keys() == given.keys()
    for section in ("data", "space", "budget", "detector", "pretraining", "supernet_pretrain", "search", "finetune"):
        assert dumped[section].keys() == given[section].keys(), section
    assert dumped["data"]["shapes"].keys() == given["data"]["shapes"].keys()


def test_a_recipe_needs_little_and_takes_the_papers_values(minimal: Path) -> None:
    recipe = load_recipe(minimal)
    assert isinstance(recipe.detector, RetinaNetSettings)
    assert recipe.search.evaluations == 1000 and recipe.search.population == 50 and recipe.search.num_parents == 10
    assert (recipe.search.num_mutations, recipe.search.num_crossovers, recipe.search.mutation_probability) == (
        20,
        20,
        0.1,
    )
    assert recipe.search_space() == search_space("small")
    assert recipe.cost_budget() == Budget()
    assert recipe.detector.nms_threshold == 0.4 and FPNSettings().nms_threshold == 0.5


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_that_is_shipped_loads(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    BudgetSampler(recipe.search_space(), fill_usual(recipe).cost_budget())  # refuses a budget that nothing meets


@pytest.mark.parametrize("name", ["complete", "minimal", *recipe_names()])
def test_a_recipe_comes_back_from_its_own_dump(name: str, complete: Path, minimal: Path, tmp_path: Path) -> None:
    recipe = load_recipe({"complete": complete, "minimal": minimal}.get(name, name))
    dumped = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    (tmp_path / "dumped.yaml").write_text(dumped)
    again = load_recipe(tmp_path / "dumped.yaml")
    assert again == recipe
    assert yaml.safe_dump(again.model_dump(mode="json"), sort_keys=False, allow_unicode=True) == dumped


def test_what_a_run_adds_to_its_recipe_is_passed_over(minimal: Path, tmp_path: Path) -> None:
    added = {"versions": {"torch": "2.14"}, "data_fingerprint": "ab", "data_directory": "/data"}
    assert load_recipe(write_tree(tmp_path / "changed.yaml", MINIMAL | added)) == load_recipe(minimal)


def test_recipes_are_immutable(minimal: Path) -> None:
    recipe = load_recipe(minimal)
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 4  # type: ignore[misc]


def test_what_is_no_recipe_is_refused(tmp_path: Path) -> None:
    for name, content, words in (
        ("list.yaml", b"- 1\n- 2\n", "not a recipe"),
        ("empty.yaml", b"", "not a recipe"),
        ("text.yaml", b"hello", "not a recipe"),
        ("torn.yaml", b"name: [1,\n b: {", "not YAML"),
        ("tab.yaml", b"a:\n\t- b", "not YAML"),
        ("bytes.yaml", b"\xff\xfe\x00\x81", "not a recipe"),
        ("tag.yaml", b"name: !!python/object/apply:os.getcwd []", "not YAML"),
        ("keys.yaml", b"1: 2\nname: a\n", "keys should be strings"),
        ("twice.yaml", dump(MINIMAL).encode() + b"seed: 1\nseed: 2\n", "seed"),
        ("twice_within.yaml", dump(MINIMAL).encode() + b"search:\n  num_parents: 1\n  num_parents: 2\n", "parents"),
    ):
        (tmp_path / name).write_bytes(content)
        message = refusal(tmp_path / name)
        assert message.startswith(f"{tmp_path / name}: ") and words in message.removeprefix(f"{tmp_path / name}: ")


def test_an_unknown_name_is_refused_with_those_that_are_known() -> None:
    message = refusal("no-such-recipe-at-all")
    assert "no-such-recipe-at-all" in message and "name a file" in message
    for name in recipe_names():
        assert name in message
        assert f"did you mean {name}?" in refusal(name + "x")
    assert "no such recipe or file" in refusal("")
