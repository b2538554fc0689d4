"""The commands `python -m benchmarks.NAME`."""

import importlib
import subprocess
import sys

import pytest
import torch
import typer
from paths import ROOT
from typer.testing import CliRunner, Result

from benchmarks import fitness
from benchmarks.command import RESULTS
from detnas.spaces import Architecture
from research import pages

NAMES = ("steps", "loader", "latency", "fitness", "fitness_knobs", "workers", "dry_runs", "gpu", "mixed_resolutions")


def invoke(name: str, *arguments: str) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(importlib.import_module(f"benchmarks.{name}").main)
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize("name", [*NAMES, "loader_memory", "official"])
def test_every_command_says_what_it_does(name: str) -> None:
    result = invoke(name, "--help")
    assert result.exit_code == 0 and "Usage:" in result.output
    if name in NAMES:
        assert f"benchmarks/results/{name}.json" in result.output


def test_a_command_may_be_given_as_a_file() -> None:
    found = subprocess.check_output([sys.executable, "benchmarks/gpu.py", "--help"], cwd=ROOT, text=True)
    assert "benchmarks/results/gpu.json" in found


def test_every_file_of_results_has_its_command() -> None:
    assert {file.stem for file in RESULTS.glob("*.json")} <= set(NAMES)


def test_without_a_gpu_its_benchmark_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = invoke("gpu")
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1 and "no GPU" in result.stderr


def test_what_the_fitness_benchmark_measures_is_what_its_table_shows() -> None:
    architectures = [Architecture.parse("00 00 0000 00"), Architecture.parse("11 11 1111 11")]
    rows = [fitness.Row(name, lambda architecture: 0.5) for name in ("official", "faster", "a search", "whole")]
    for row in rows:
        for architecture in architectures:
            row.measure(architecture)
        row.seconds = [2.0, 4.0] if row.name == "official" else [1.0, 1.0]
    rows[0].scores = dict.fromkeys(architectures, 0.25)
    found = fitness.results(rows, [rows[0], rows[0]])
    lines = pages.fitness_tables({"retinanet": found, "fpn": found}).splitlines()
    assert "| faster | 1 | 3 | 67% | +0.2500 |" in lines and "| official | 3 | 1 | 0% | +0.0000 |" in lines
