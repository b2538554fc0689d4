"""Fixtures that many tests share, one thread a process, and the check of skips."""

import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

# More threads than idle cores make small networks several times slower. Set before torch is imported, for child
# processes too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest
import sqlalchemy
import torch
from allowed_skips import pytest_addoption as pytest_addoption  # a hook, as the next one
from allowed_skips import pytest_configure as pytest_configure
from build_once import build_once
from shell import Shell
from small_recipe import write_blocks, write_class_folder, write_recipe

from detnas.run.pipeline import run

torch.set_num_threads(1)


# In CI the same examples every time: what a rare one finds belongs into a test of its own, not into another's change.
hypothesis.settings.register_profile("ci", derandomize=True)
if os.environ.get("CI") == "true":
    hypothesis.settings.load_profile("ci")


@sqlalchemy.event.listens_for(sqlalchemy.Engine, "connect")
def _without_waiting_for_the_disk(connection: Any, record: Any) -> None:
    """A study's many small commits outlive a killed process without being flushed; only a power cut would tell."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF")


@pytest.fixture(scope="session")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COCO folder whose category ids have gaps, with an image folder for classification in it. Not to be changed."""

    def build(folder: Path) -> None:
        write_blocks(folder)
        write_class_folder(folder / "classes")

    return build_once(tmp_path_factory, "blocks", build)


@pytest.fixture(scope="session", params=["retinanet", "fpn"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, blocks: Path) -> Path:
    """A finished run; `recipe.yaml` beside it is what it was run with. Not to be changed: copy it."""

    def build(folder: Path) -> None:
        recipe = write_recipe(folder / "recipe.yaml", request.param)
        run(str(recipe), folder / "run", blocks)

    built = build_once(tmp_path_factory, f"finished-{request.param}", build)
    # A copy for each process: some tests lock the run, or give its command again.
    folder = tmp_path_factory.mktemp(request.param)
    return Path(shutil.copytree(built, folder, dirs_exist_ok=True)) / "run"


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)
