"""The documents name what is there."""

import importlib
import re
import runpy
from pathlib import Path

import pytest
import typer
from paths import ROOT

from detnas.cli.app import app
from detnas.config import recipe_names

TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.name)
def test_every_test_recipe_and_file_that_is_named_exists(file: Path) -> None:
    text = file.read_text()
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", text))
    assert {name for name in named if f"def {name}(" not in tests} == set()
    recipes = set(re.findall(r"\b(?:paper|shapes|own-data)-[a-z0-9-]*[a-z0-9](?![\w*-])", text))
    assert {name for name in recipes if name not in recipe_names()} == set()
    paths = set(re.findall(r"`((?:benchmarks|research|docs|detnas)/[\w./-]+)`", text))
    assert {path for path in paths if not (ROOT / path).exists()} == set()


def test_the_guide_to_the_fields_is_what_the_types_say() -> None:
    """Written again by `python docs/make_fields.py`."""
    make_fields = runpy.run_path(str(ROOT / "docs/make_fields.py"))
    page = (ROOT / "docs/fields.md").read_text()
    assert make_fields["render_page"]() == page
    assert [line for line in page.splitlines() if line.endswith("|  |")] == []  # each says what it is


def test_contributing_names_each_table_where_it_is() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(
        r"^\| (?:op|detector|data format|sampler|evaluator) \|.*\| `([A-Z]+)` in `([^`]+)` \| (.*) \|$", text, re.M
    )
    assert len(rows) == 5
    for table, file, tests in rows:
        module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        assert getattr(importlib.import_module(module), table)
        assert all((ROOT / "tests/contracts" / name).exists() for name in re.findall(r"`([^`]+)`", tests))


def test_the_page_of_commands_has_every_command_and_recipe() -> None:
    text = (ROOT / "docs/commands.md").read_text()
    commands = typer.main.get_command(app).commands
    names = {
        name if not hasattr(command, "commands") else f"{name} {part}"
        for name, command in commands.items()
        for part in getattr(command, "commands", [""])
    }
    documented = re.findall(r"^\| `detnas ([a-z -]+?)(?: [A-Z-].*)?` \|", text, re.MULTILINE)
    assert set(documented) == names
    assert {name for name in recipe_names() if f"`{name}`" not in text and not name.startswith("paper-")} == set()
