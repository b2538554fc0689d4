"""Recipes of earlier versions: every old name is answered with what to write instead."""

from pathlib import Path

import pytest
from recipes import MINIMAL, refusal, write_tree

import detnas
from detnas.config import SearchSettings
from detnas.config.renamed import DELETED_KEYS, RENAMED_KEYS
from detnas.utils.errors import UserError

TRAININGS = ("supernet_pretrain", "supernet_finetune", "pretrain", "finetune")
RENAMED = {
    "budget.flops_min": "budget.macs_min",
    "budget.flops_max": "budget.macs_max",
    **{f"{training}.batch": f"{training}.batch_size" for training in TRAININGS},
    **{f"{training}.flops_bins": f"{training}.macs_bins" for training in TRAININGS[:2]},
    **{
        f"{training}.{old}": f"{training}.paths" for training in TRAININGS[:2] for old in ("budget_paths", "fair_paths")
    },
    "search.against": "search.second_objective",
    "search.mutants": "search.num_mutations",
    "search.crossovers": "search.num_crossovers",
    "search.parents": "search.num_parents",
    "search.pictures": "search.images",
    "search.batch": "search.batch_size",
    "search.recalibration_batch": "search.recalibration_batch_size",
}


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_key_is_answered_with_the_new_one(old: str, new: str, minimal: Path) -> None:
    said = f"{minimal}: unknown key {old}; it is called {new} now"
    assert refusal(minimal, f"{old}=1") == said
    section, key = old.split(".")
    tree = MINIMAL | {section: MINIMAL.get(section, {}) | {key: 1}}
    if key == "batch" and section != "search":
        del tree[section]["batch_size"]  # that the new key is missing follows, and is not what is said
    assert refusal(write_tree(minimal, tree)) == said


@pytest.mark.parametrize("key", ["racing", "racing_chance"])
def test_a_deleted_key_is_answered_with_the_reason(key: str, minimal: Path) -> None:
    assert refusal(minimal, f"search.{key}=[0.5]") == (
        f"{minimal}: unknown key search.{key}; it was deleted, for it saved no time where it was measured; leave it out"
    )


def test_all_old_keys_are_answered_at_once(minimal: Path) -> None:
    said = refusal(minimal, "search.batch=4", "search.misspelled=4", "budget.flops_max=300M", "seed=-1")
    assert said == (
        f"{minimal}: unknown key budget.flops_max; it is called budget.macs_max now; "
        "unknown key search.batch; it is called search.batch_size now"
    )


def test_an_old_value_is_answered_with_the_new_one(minimal: Path) -> None:
    said = refusal(minimal, "search.sampler=nsga2", "search.second_objective=flops")
    assert said == f"{minimal}: search.second_objective = 'flops': it is called macs now"


def test_old_settings_of_a_search_in_python_are_answered(tmp_path: Path) -> None:
    for settings, said in (
        ({"mutants": 3}, "there is no setting mutants; it is called num_mutations now"),
        ({"racing": [0.5]}, "there is no setting racing; it was deleted, for it saved no time"),
        ({"sampler": "nsga2", "second_objective": "flops"}, "second_objective = 'flops': it is called macs now"),
    ):
        with pytest.raises(UserError, match=said):
            detnas.search(lambda architecture: 1.0, "small", out=tmp_path / "out", **settings)


def test_the_table_names_keys_that_exist_for_keys_that_do_not() -> None:
    assert sum(map(len, RENAMED_KEYS.values())) == len({key.rpartition(".")[2] for key in RENAMED}) + 2  # three `batch`
    for section, keys in RENAMED_KEYS.items():
        assert section.model_fields.keys().isdisjoint(keys) and section.model_fields.keys() >= set(keys.values())
    assert SearchSettings.model_fields.keys().isdisjoint(DELETED_KEYS[SearchSettings])
