"""The commands `python -m benchmarks.NAME`."""

import importlib

import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from benchmarks.command import RESULTS

NAMES = ("steps", "loader", "latency", "fitness", "fitness_knobs", "workers", "lookups", "dry_runs", "gpu")


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


def test_every_file_of_results_has_its_command() -> None:
    assert {file.stem for file in RESULTS.glob("*.json")} <= set(NAMES)


def test_without_a_gpu_its_benchmark_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = invoke("gpu")
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1 and "no GPU" in result.stderr
