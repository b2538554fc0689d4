"""The documents name what is there."""

import importlib
import re
import runpy
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import ROOT

from detnas.config import recipe_names
from detnas.utils.files import write_json

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
    assert make_fields["page"]() == page
    assert [line for line in page.splitlines() if line.endswith("|  |")] == []  # each says what it is


def test_the_results_are_what_the_files_say() -> None:
    """Written again by `python -m research pages`."""
    results = vars(importlib.import_module("research.pages"))
    assert results["page"]() == (ROOT / "docs/results.md").read_text()
    assert results["START"] + results["table"]() + results["END"] in (ROOT / "README.md").read_text()


def test_results_are_judged_by_their_intervals(tmp_path: Path) -> None:
    results = vars(importlib.import_module("research.pages"))
    assert results["table"](tmp_path).count("Not measured yet") == 4

    def way(**gained: float) -> dict[str, Any]:
        found: dict[str, Any] = {"mAP": {"value": 0.5, "low": 0.4, "high": 0.6}, "of each block": [0.5, 0.5]}
        return found | ({"DetNAS less this": {"value": 0.0, **gained}} if gained else {})

    gains = {"above": (0.01, 0.02), "level": (-0.01, 0.02), "below": (-0.02, -0.01)}
    ways = {"DetNAS": way(), **{name: way(low=low, high=high) for name, (low, high) in gains.items()}}
    deviations = ("residual standard deviation", "standard deviation between trainings")
    comparison = {
        "within": [],
        "repeats": 3,
        "estimates": {"fpn": {"blocks": 2, **dict.fromkeys(deviations, 0.01), "ways": ways}},
        "networks": {"fpn": {"DetNAS": [{"seconds": {"pretrain": 61.0}, "search seconds": {"search": 62.0}}]}},
    }
    write_json(tmp_path / "comparison.json", comparison)
    rows = [line for line in results["page"](tmp_path).splitlines() if line.startswith("| ")]
    told = {line.split("|")[1].strip(): line.split("|")[5].strip() for line in rows if line.count("|") == 6}
    assert told["above"] == "holds" and told["level"] == "not told apart"
    assert told["below"] == "does not hold: reversed"
    tau = {"value": 0.4, "low": 0.2, "high": 0.6}
    claim = {"supernet": "uniform", "recalibration batches": 20}
    row = claim | {"Kendall's tau": tau, "of each seed": [0.3, 0.5]}
    for low, words in ((0.1, "misses the tau of 0.5"), (-0.1, "not clearly above")):
        ranking = {
            "recipe": "shapes-quick",
            "changes": [],
            "networks": 5,
            "supernets": {"uniform": []},
            "MACs alone": {"Kendall's tau": tau, "better": "fewer"},
            "ops alone": {"Kendall's tau": {"shuffle3": tau}, "of the claim beyond them": tau},
            "claim": claim,
            "rows": [row | {"tau less that of MACs": {"value": 0.2, "low": low, "high": 0.5}}],
        }
        write_json(tmp_path / "ranking_quality.json", ranking)
        assert words in results["table"](tmp_path)
        page = results["page"](tmp_path)
        assert (
            "| uniform | 0.40 (0.20 to 0.60): 0.30, 0.50 |  |" in page and "for `shuffle3` 0.40 (0.20 to 0.60)." in page
        )


def test_ways_are_compared_as_by_a_least_squares_fit() -> None:
    """An independent reference: dummy regression on ways and blocks, and the variance of a contrast of its effects."""
    bench = vars(importlib.import_module("research.comparing"))
    ways, blocks = ("DetNAS", "all shuffle3", "random networks", "random search", "DetNAS-scratch", "ClsNAS"), 4
    scores = np.random.default_rng(0).normal(size=(len(ways), blocks))
    places = [("retinanet", 0), ("retinanet", 1), ("retinanet", 2), ("fpn", 0)]
    found: dict[str, Any] = {"retinanet": {}, "fpn": {}}
    for (way, row), (block, (detector, seed)) in product(zip(ways, scores, strict=True), enumerate(places)):
        # Two trainings whose mean is the score.
        networks = [{"seed": seed, "mAP": row[block] + error} for error in (-0.1, 0.1)]
        found[detector].setdefault(way, []).extend(networks)
    # Of this block one way alone is known.
    found["fpn"][ways[1]].append({"seed": 1, "mAP": 0.9})
    told = bench["estimates"](found, ways)
    dummies = np.array([[*np.eye(len(ways))[i], *np.eye(blocks)[j][1:]] for i, j in np.ndindex(scores.shape)])
    effects, (rest,), *_ = np.linalg.lstsq(dummies, scores.ravel())
    variance = rest / (dummies.shape[0] - dummies.shape[1])
    contrast = np.eye(dummies.shape[1])[0] - np.eye(dummies.shape[1])[2]
    error = (variance * contrast @ np.linalg.inv(dummies.T @ dummies) @ contrast) ** 0.5
    student = 2.131  # with 15 degrees of freedom
    gained = told["ways"][ways[2]]["DetNAS less this"]
    assert told["blocks"] == blocks and told["residual standard deviation"] == pytest.approx(variance**0.5, abs=1e-5)
    assert gained["value"] == pytest.approx(effects @ contrast, abs=1e-5)
    assert gained["high"] - gained["value"] == pytest.approx(student * error, abs=2e-5)
    assert told["standard deviation between trainings"] == pytest.approx(0.02**0.5, abs=1e-5)
    assert bench["estimates"]({"fpn": found["fpn"]}, ways) == {}  # one block tells nothing


def test_what_searches_gain_is_what_a_normal_posterior_says() -> None:
    """Of effects whose mean and covariance are known: by formula, not by draws."""
    estimate = vars(importlib.import_module("research.surrogate"))["estimate"]
    rng = np.random.default_rng(0)
    mean, spread = rng.normal(size=6), rng.normal(size=(6, 6))
    draws = (mean + rng.normal(size=(100_000, 6)) @ spread).reshape(-1, 3, 2)
    differences = rng.normal(size=(4, 3, 2))
    told = estimate(draws, differences)
    flat = differences.reshape(4, 6)
    gains, toward = flat @ mean, flat.mean(0)
    variance = toward @ spread.T @ spread @ toward + gains.var(ddof=1) / 4
    assert told["searches"] == 4 and told["of each"] == pytest.approx(gains, abs=0.05)
    assert told["mAP"]["value"] == pytest.approx(gains.mean(), abs=0.03)
    # Student's t with 3 degrees of freedom.
    assert told["mAP"]["high"] - told["mAP"]["value"] == pytest.approx(3.182 * variance**0.5, rel=0.02)


def test_benches_take_up_what_was_measured_in_the_same_way(tmp_path: Path) -> None:
    recorded = vars(importlib.import_module("research.workspace"))["recorded"]
    file = tmp_path / "results.json"
    assert recorded(file, changes=["a"]) == {}
    write_json(file, {"changes": ["a"], "seeds": [0, 1], "networks": [1, 2]})
    assert recorded(file, changes=["a"], seeds=[0, 1])["networks"] == [1, 2]
    assert recorded(file, changes=["a"], seeds=[0]) == recorded(file, changes=[], seeds=[0, 1]) == {}


def test_the_table_of_runs_is_what_was_recorded() -> None:
    """Written again by `python -m research record`."""
    record = vars(importlib.import_module("research.record"))
    readme = (ROOT / "README.md").read_text()
    assert record["START"] + record["table"]() + record["END"] in readme
