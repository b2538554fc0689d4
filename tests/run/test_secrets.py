"""A password that somebody wrote into a run's recipe.yaml is neither shown nor copied, whichever command reads it."""

from pathlib import Path

import pytest
import yaml
from shell import Shell
from small_recipe import small_recipe, write_recipe

from detnas.rundir.directory import write_stored_run
from detnas.rundir.layout import FORMAT, StoredRun

SECRET = "S3CRET"
STORAGES = [
    f"postgresql+psycopg://me:{SECRET}@127.0.0.1:1/db",
    f"postgresql+psycopg://127.0.0.1:1/db?sslpassword={SECRET}",
    [f"postgresql+psycopg://me:{SECRET}@127.0.0.1:1/db"],
    {"address": {"password": SECRET}},
    {SECRET: 1},
    SECRET,
]
COMMANDS: dict[str, list[str]] = {
    "run": ["run", "RECIPE", "--out", "RUN", "--data", "DATA"],
    "search": ["search", "RUN"],
    "join": ["search", "RUN", "--join"],
    "rank": ["rank", "RUN", "--n", "2"],
    "retrain": ["retrain", "RUN", "0000"],
    "report": ["report", "RUN"],
    "status": ["status", "RUN"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_shows_or_copies_it(command: str, tmp_path: Path, blocks: Path, shell: Shell) -> None:
    recipe = small_recipe().model_dump(mode="json")
    write_recipe(tmp_path / "recipe.yaml")
    places = {"RECIPE": tmp_path / "recipe.yaml", "RUN": tmp_path / "run", "DATA": blocks}
    for storage in STORAGES:
        stored = StoredRun(
            recipe=recipe | {"search": recipe["search"] | {"storage": storage}},
            format=FORMAT,
            versions={},
            data_directory=str(blocks),
            data_fingerprint="",
        )
        write_stored_run(tmp_path / "run", stored)
        said = shell.refused(*(places.get(word, word) for word in COMMANDS[command]))
        assert SECRET not in said and "storage" in said
    held = [path for path in (tmp_path / "run").rglob("*") if path.is_file() and path.name != "recipe.yaml"]
    assert not [path for path in held if SECRET in path.read_text(errors="replace")]
    assert yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["search"]["storage"] == STORAGES[-1]
