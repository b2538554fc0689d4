"""One thread: more threads than idle cores make small networks several times slower."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
import torch
from shell import Shell
from small_recipe import write_blocks, write_class_folder, write_recipe

from detnas.run.pipeline import run

torch.set_num_threads(1)


@sqlalchemy.event.listens_for(sqlalchemy.Engine, "connect")
def _without_waiting_for_the_disk(connection: Any, record: Any) -> None:
    """A study's many small commits outlive a killed process without being flushed; only a power cut would tell."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF")


@pytest.fixture(scope="session")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COCO folder whose category ids have gaps, with an image folder for classification in it."""
    folder = write_blocks(tmp_path_factory.mktemp("blocks"))
    write_class_folder(folder / "classes")
    return folder


@pytest.fixture(scope="session", params=["retinanet", "fpn"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, blocks: Path) -> Path:
    """A finished run; `recipe.yaml` beside it is what it was run with. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp(request.param)
    recipe = write_recipe(folder / "recipe.yaml", request.param)
    return run(str(recipe), folder / "run", blocks)


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)
