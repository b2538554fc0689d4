"""Run directories that another version of detnas wrote are refused by every command, in one line."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from shell import Shell
from small_recipe import small_recipe, small_tree, write_recipe

import detnas
from detnas.rundir.directory import find_stored_run
from detnas.rundir.layout import FORMAT
from detnas.utils.errors import UserError

FIRST_EDITION = "0.1.0, format 1"


@pytest.fixture
def old(finished: Path, tmp_path: Path) -> Path:
    """A run as the first edition of detnas left it, with the names that it had; its weights file is a present one."""
    tree = small_tree()
    tree["budget"] = {"flops_min": 1000.0, "flops_max": 300e6}
    tree["search"] = {
        "evaluations": 6,
        "population": 3,
        "parents": 2,
        "mutants": 1,
        "crossovers": 1,
        "against": None,
        "pictures": None,
        "recalibration_batch": 2,
        "batch": 4,
    }
    for stage in ("supernet_pretrain", "supernet_finetune", "pretrain", "finetune"):
        tree[stage]["batch"] = tree[stage].pop("batch_size")
    tree["versions"] = {"detnas": "0.1.0", "torch": "2.14.0", "torchvision": "0.29.0", "python": "3.11.9"}
    tree["data_directory"] = "/data/blocks"
    tree["data_fingerprint"] = "9f2c4e"
    run = tmp_path / "old"
    (run / "search").mkdir(parents=True)
    (run / "recipe.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    row = {"number": 0, "architecture": "00 00 0000 00", "flops": 3_000_000, "fitness": 0.1, "seconds": 1.0}
    (run / "search" / "candidates.jsonl").write_text(json.dumps(row) + "\n")
    shutil.copy(finished / "detector.safetensors", run)
    return run


COMMANDS = {
    "search": ["search", "OLD"],
    "join": ["search", "OLD", "--join"],
    "rank": ["rank", "OLD", "--n", "3"],
    "retrain": ["retrain", "OLD", "00 00 0000 00"],
    "report": ["report", "OLD"],
    "status": ["status", "OLD"],
    "export": ["export", "OLD/detector.safetensors", "--format", "py"],
}


@pytest.mark.parametrize("finished", ["retinanet"], indirect=True)
@pytest.mark.parametrize("command", ["run", *COMMANDS])
def test_every_command_refuses_a_run_of_the_first_edition(
    command: str, old: Path, blocks: Path, tmp_path: Path, shell: Shell
) -> None:
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    if command == "run":
        recipe = write_recipe(tmp_path / "recipe.yaml")
        error = shell.refused("run", recipe, "--out", old, "--data", blocks)
    else:
        error = shell.refused(*(word.replace("OLD", str(old)) for word in COMMANDS[command]))
    assert f"{old}: written by another version of detnas ({FIRST_EDITION})" in error
    assert "use that version, or start a new run in another folder" in error
    assert {path: path.read_bytes() for path in old.rglob("*") if path.is_file()} == before


def test_a_later_format_and_none_at_all_are_refused_alike(tmp_path: Path) -> None:
    for format, said in ((FORMAT + 1, f"unknown, format {FORMAT + 1}"), (None, "unknown, format None")):
        tree = small_recipe().model_dump(mode="json") | {"format": format}
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tree))
        with pytest.raises(UserError, match=said):
            find_stored_run(tmp_path)


def test_a_search_of_the_first_edition_is_refused(tmp_path: Path) -> None:
    facts = {"seed": 0, "space": {}, "budget": {"flops": [0, None]}, "settings": {"against": None}}
    (tmp_path / "search.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match="written by another version of detnas"):
        detnas.search(lambda architecture: 0.5, "tiny", tmp_path, evaluations=2)
