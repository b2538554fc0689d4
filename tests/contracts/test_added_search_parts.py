"""A sampler and an evaluator that are added: a module each and a line in a table each, and a run goes through."""

import json
from pathlib import Path

import pytest
from small_recipe import small_recipe
from toy_sampler import CountingSampler

import detnas
from detnas.run.status import format_status
from detnas.search.evaluators import EVALUATORS
from detnas.search.evaluators.base import EvaluatorSpec
from detnas.search.samplers import SAMPLERS


def test_a_run_searches_with_them(blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SAMPLERS, "counting", CountingSampler)
    monkeypatch.setitem(EVALUATORS, "weight", EvaluatorSpec("toy_evaluator:WeightEvaluator", "detection", "weight"))
    recipe = small_recipe(
        search__sampler="counting", search__fitness="weight", pretraining__source="none", baselines=[]
    )
    out = detnas.run(recipe, out=tmp_path / "run", data=blocks)
    rows = [json.loads(line) for line in (out / "search/candidates.jsonl").read_text().splitlines()]
    assert [row["architecture"].replace(" ", "") for row in rows] == [f"000000000{op}" for op in range(4)] + [
        "0000000010",
        "0000000011",
    ]
    assert {row["metric"] for row in rows} == {"weight"} and {row["origin"] for row in rows} == {"counting"}
    best = json.loads((out / "search/best.json").read_text())
    assert best["fitness"] == max(row["fitness"] for row in rows)
    evaluation = json.loads((out / "finetune/winner/evaluation.json").read_text())
    assert evaluation["architecture"] == best["architecture"]
    assert (out / "detector.safetensors").exists() and "weight" in (out / "report.html").read_text()
    assert any(f"best weight {best['fitness']:.3f}" in line for line in format_status(out))
