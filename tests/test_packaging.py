"""The wheel holds all that is needed, and works where there is no checkout. Built and installed without a network."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from paths import ROOT
from small_recipe import write_recipe

import detnas
from detnas.config import recipe_names
from detnas.run.pipeline import run

SKIPPED = shutil.ignore_patterns("__pycache__")

LOAD = """
import sys
import detnas
from detnas.config import load_recipe, recipe_names

print(detnas.__file__)
for name in recipe_names():
    print(load_recipe(name).name)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, for building leaves files behind."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "detnas", folder / "copy/detnas", ignore=SKIPPED)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "copy")
    words = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder)
    _pip(*words, folder / "copy")
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what the wheel installs, and that alone."""
    folder = tmp_path_factory.mktemp("installed")
    _pip("install", "--quiet", "--no-deps", "--no-index", "--target", folder, wheel)
    return folder


def _pip(*words: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, words)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "detnas").rglob("*") if path.is_file()}
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("detnas/")}
    assert packed == {name for name in files if "__pycache__" not in name}


@pytest.mark.slow
def test_the_installed_package_works_where_there_is_no_checkout(installed: Path, blocks: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", pretraining__source="none")
    begun = run(str(recipe), tmp_path / "run", blocks, stages=())

    def said(*words: object) -> str:
        done = subprocess.run(
            [*map(str, words)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    command = installed / "bin" / "detnas"
    assert said(command, "--version").strip() == detnas.__version__
    home, *names = said(sys.executable, "-c", LOAD).split()
    assert Path(home) == installed / "detnas/__init__.py" and names == recipe_names()
    assert "10 blocks of 4 ops" in said(command, "profile", recipe)
    assert "report.html" in said(command, "report", begun)
    assert "</html>" in (begun / "report.html").read_text()
