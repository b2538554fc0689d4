"""Changes to a recipe from the command line, `--set KEY=VALUE`."""

from pathlib import Path

import pytest
from recipes import COMPLETE, MINIMAL, refusal, write_tree

from detnas.config import FPNSettings, load_recipe


def test_changes_are_made_to_any_depth(minimal: Path) -> None:
    recipe = load_recipe(
        minimal,
        [
            "seed=7",
            "search.population=60",
            "search.population=70",
            "data.shapes.train=50",
            "detector.anchor_ratios=[1, 2]",
            "baselines=[]",
            "finetune.scale_jitter=[0.8, 1.2]",
            "name=b",
            "data.train=a=b.json",
        ],
    )
    assert (recipe.seed, recipe.search.population, recipe.name) == (7, 70, "b")
    assert recipe.data.train == "a=b.json"
    assert recipe.data.shapes is not None and recipe.data.shapes.train == 50
    assert recipe.baselines == () and recipe.finetune.scale_jitter == (0.8, 1.2)
    assert recipe.detector.anchor_ratios == (1, 2)
    # Only what was named has changed.
    assert recipe.finetune.steps == 100 and recipe.supernet_finetune.scale_jitter is None


def test_changes_of_an_aliased_section_stay_where_they_are_made(complete: Path) -> None:
    text = COMPLETE.replace("{<<: *training, macs_bins: null, paths: fair}", "*training")
    complete.write_text(text.replace("{<<: *training, macs_bins: [5M, 0.01G, 20000000], paths: space}", "*training"))
    recipe = load_recipe(complete, ["supernet_pretrain.steps=77"])
    assert recipe.supernet_pretrain.steps == 77
    assert recipe.pretrain.steps == recipe.supernet_finetune.steps == 100


def test_a_change_can_switch_the_detector(minimal: Path) -> None:
    assert isinstance(load_recipe(minimal, ["detector.type=fpn"]).detector, FPNSettings)


@pytest.mark.parametrize("change", ["search.population", "=5", "", "population 5"])
def test_a_change_without_key_or_value_is_refused(change: str, minimal: Path) -> None:
    message = refusal(minimal, change)
    assert message.startswith(f"--set {change}:") and "key=value" in message


@pytest.mark.parametrize("change", ["seed.x=3", "search.population.x=3", "name.a.b=1"])
def test_a_change_within_a_value_is_refused(change: str, minimal: Path) -> None:
    assert load_recipe(minimal, ["seed=1"]).seed == 1
    assert change in refusal(
        write_tree(minimal.parent / "changed.yaml", MINIMAL | {"seed": 1, "search": {"population": 50}}), change
    )


def test_a_change_that_is_not_yaml_is_refused(minimal: Path) -> None:
    assert "quote it" in refusal(minimal, "seed=[1")


@pytest.mark.parametrize(
    ("change", "right"),
    [
        ("sed=1", "seed"),
        ("search.poplation=5", "search.population"),
        ("data.shapes.trian=5", "data.shapes.train"),
        ("detector.anchor_size=[1]", "detector.anchor_sizes"),
        ("supernet_finetun.steps=5", "supernet_finetune"),
        ("finetune.learning_rate=5", "known keys: steps, batch_size, optimizer, lr, "),
    ],
)
def test_a_misspelled_change_names_the_right_key(change: str, right: str, minimal: Path) -> None:
    message = refusal(minimal, change)
    assert f"unknown key {change.split('=')[0].removesuffix('.steps')}" in message
    assert right in message
