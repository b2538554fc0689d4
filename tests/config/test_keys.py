"""Keys that no recipe has: each is refused with the nearest key that exists."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from recipes import COMPLETE, MINIMAL, refusal, write_tree

from detnas.config import Recipe


def misspell(tree: dict[str, Any], path: str, wrong: str) -> dict[str, Any]:
    """The tree with the key at `path` written `wrong`."""
    tree = copy.deepcopy(tree)
    *sections, key = path.split(".")
    node = tree
    for section in sections:
        node = node[section]
    node[wrong] = node.pop(key)
    return tree


MISSPELLED = [
    ("seed", "sead"),
    ("budget", "buget"),
    ("supernet_pretrain", "supernet-pretrain"),
    ("search.num_mutations", "num_mutation"),
    ("data.bad_boxes", "bad_box"),
    ("data.shapes.clutter", "cluter"),
    ("budget.macs_max", "mac_max"),
    ("detector.proposals_train", "proposal_train"),
    ("detector.min_size", "minsize"),
    ("finetune.milestones", "milestone"),
    ("pretraining.source", "sorce"),
]


@pytest.mark.parametrize(("path", "wrong"), MISSPELLED)
def test_a_misspelled_key_is_named_with_the_right_one(path: str, wrong: str, tmp_path: Path) -> None:
    file = write_tree(tmp_path / "changed.yaml", misspell(yaml.safe_load(COMPLETE), path, wrong))
    message = refusal(file)
    section = path.rpartition(".")[0]
    assert message == f"{file}: unknown key {f'{section}.{wrong}' if section else wrong}; did you mean {path}?"


@pytest.mark.parametrize(
    ("kind", "wrong", "right"),
    [
        ("fpn", "box_feature", "box_features"),
        ("fpn", "roi_canonic_size", "roi_canonical_size"),
        ("retinanet", "head_conv", "head_convs"),
        ("retinanet", "extra_level", "extra_levels"),
        ("retinanet", "anchor_scale", "anchor_scales"),
    ],
)
def test_the_right_key_of_a_detector_is_one_of_its_own(kind: str, wrong: str, right: str, tmp_path: Path) -> None:
    file = write_tree(tmp_path / "changed.yaml", MINIMAL | {"detector": {"type": kind, wrong: 1}})
    assert refusal(file) == f"{file}: unknown key detector.{wrong}; did you mean detector.{right}?"


def test_a_key_of_the_other_detector_is_unknown(tmp_path: Path) -> None:
    file = write_tree(tmp_path / "changed.yaml", MINIMAL | {"detector": {"type": "retinanet", "box_features": 64}})
    assert "unknown key detector.box_features; " in refusal(file)


@pytest.mark.parametrize(
    ("tree", "key"),
    [
        (MINIMAL | {"fpn": {"min_size": 64}}, "fpn"),
        (MINIMAL | {"retinanet": 3}, "retinanet"),
        (MINIMAL | {"detector": {"type": "fpn", "fpn": {"min_size": 64}}}, "detector.fpn"),
        (MINIMAL | {"detector": {"type": "fpn", "retinanet": 1}}, "detector.retinanet"),
        (MINIMAL | {"search": {"fpn": 1}}, "search.fpn"),
    ],
)
def test_a_detectors_name_as_a_key_is_an_unknown_key(tree: dict[str, Any], key: str, tmp_path: Path) -> None:
    assert f"unknown key {key}; " in refusal(write_tree(tmp_path / "changed.yaml", tree))


def test_a_key_like_no_other_lists_those_that_are_known(minimal: Path) -> None:
    message = refusal(minimal, "space.qqqqqqqq=1")
    assert "unknown key space.qqqqqqqq; known keys: name, width" in message


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    for key in ("name", "detector", "finetune"):
        tree = {name: value for name, value in MINIMAL.items() if name != key}
        assert f"{key} is missing" in refusal(write_tree(tmp_path / "changed.yaml", tree))
    tree = MINIMAL | {"finetune": {"steps": 3, "lr": 0.1}}
    assert "finetune.batch_size is missing" in refusal(write_tree(tmp_path / "changed.yaml", tree))


@pytest.mark.parametrize("kind", [None, "yolo", "FPN", 3])
def test_a_detector_of_no_known_type_is_refused(kind: Any, tmp_path: Path) -> None:
    message = refusal(write_tree(tmp_path / "changed.yaml", MINIMAL | {"detector": {"type": kind, "min_size": 64}}))
    assert "detector.type" in message and "fpn" in message and "retinanet" in message
    if kind is not None:
        assert repr(kind) in message
    message = refusal(write_tree(tmp_path / "changed.yaml", MINIMAL | {"detector": {"min_size": 64}}))
    assert "detector.type" in message and "fpn" in message and "retinanet" in message


def test_a_recipe_object_is_checked_like_a_file() -> None:
    with pytest.raises(ValueError, match="extra"):
        Recipe.model_validate(MINIMAL | {"sead": 1})
