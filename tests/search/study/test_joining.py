"""Workers of a real search: a run that searches and who joins it find what the run finds alone."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from paths import ROOT
from postgresql import postgresql
from small_recipe import write_recipe

from detnas.config import load_recipe
from detnas.run.opening import open_run
from detnas.run.pipeline import run
from detnas.run.search_stage import _study_name
from detnas.utils.progress import Progress

PATIENCE = 300
SEARCH = {"search__evaluations": 12, "search__population": 4, "pretraining__source": "none", "baselines": []}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql() as address:
        yield address


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, blocks: Path) -> Path:
    """A run as far as its search, by one process; recipe.yaml beside it is what it was run with."""
    folder = tmp_path_factory.mktemp("alone")
    recipe = write_recipe(folder / "recipe.yaml", **SEARCH)
    return run(str(recipe), folder / "run", blocks, stages=("supernet-finetune", "search"))


def detnas(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "detnas", *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended_well(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    return said


def rows(directory: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (directory / "search/candidates.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


@pytest.mark.slow
def test_a_run_that_searches_is_helped_and_goes_on(alone: Path, blocks: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    running = detnas("run", alone.parent / "recipe.yaml", "--out", out, "--data", blocks)
    began = time.monotonic()
    while not (out / "supernet-finetune/done.json").exists():
        assert running.poll() is None and time.monotonic() < began + PATIENCE
        time.sleep(0.05)
    helper = detnas("search", out, "--join")
    for process in (helper, running):
        assert "winner: " in ended_well(process)
    assert rows(out) == rows(alone)
    assert (out / "detector.safetensors").exists() and (out / "report.html").exists()


@pytest.mark.slow
def test_copies_of_a_run_search_together_by_a_server(alone: Path, server: str, tmp_path: Path) -> None:
    """As on two machines."""
    copies = [tmp_path / "one", tmp_path / "two"]
    for copy in copies:
        shutil.copytree(alone, copy)
        shutil.rmtree(copy / "search")
        stored = yaml.safe_load((copy / "recipe.yaml").read_text())
        stored["search"]["storage"] = server
        (copy / "recipe.yaml").write_text(yaml.safe_dump(stored))
    for process in [detnas("search", copy, "--join") for copy in copies]:
        assert server in ended_well(process)
    for copy in copies:
        assert rows(copy) == rows(alone) and not (copy / "search/study.db").exists()
    (name,) = optuna.get_all_study_names(server)
    assert name.startswith("small-")
    assert optuna.load_study(study_name=name, storage=server).best_value == max(row["fitness"] for row in rows(alone))


def test_only_copies_of_a_run_have_its_study(alone: Path, blocks: Path) -> None:
    def name(device: str = "cpu", **changes: Any) -> str:
        recipe = load_recipe(alone.parent / "recipe.yaml", [f"search.{key}={value}" for key, value in changes.items()])
        recipe = recipe.model_copy(update={"device": device})
        with open_run(load_recipe(alone.parent / "recipe.yaml"), alone, blocks, Progress(quiet=True)) as current:
            return _study_name(replace(current, recipe=recipe))

    storage = "postgresql+psycopg://me@host/studies"
    same = name(storage=storage)
    assert same == name("auto", storage=f"{storage}?sslmode=require")
    assert len({same, name(storage=storage, population=5), name()}) == 3 and name() == "search"
    weights = max((alone / "supernet-finetune").glob("checkpoint-*.pt"))
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # as of another supernet
    try:
        assert name(storage=storage) != same
    finally:
        weights.write_bytes(whole)
