"""The files of results, and the experiments that take them up."""

from pathlib import Path

import pytest

from detnas.utils.errors import UserError
from detnas.utils.files import read_json, write_json
from research import architectures, ranking_quality, surrogate
from research.comparison import Comparison, at_equal_macs, estimates, in_the_wide_budget
from research.statistics import reliability
from research.workspace import Workspace, recorded

WORKSPACE = Workspace()
COMPARISONS = [at_equal_macs(WORKSPACE), in_the_wide_budget(WORKSPACE)]


def test_results_that_were_measured_in_the_same_way_are_taken_up(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    assert recorded(file, changes=["a"]) == {}
    write_json(file, {"changes": ["a"], "seeds": [0, 1], "networks": [1, 2]})
    assert recorded(file, changes=["a"], seeds=[0, 1])["networks"] == [1, 2]
    assert recorded(file, changes=["a"], seeds=[0]) == recorded(file, changes=[], seeds=[0, 1]) == {}


def test_the_benchmark_on_record_is_complete_and_its_figures_follow() -> None:
    rows = [architectures.row(WORKSPACE, one) for one in WORKSPACE.architectures()]
    assert len(rows) == 48 and None not in rows
    recorded_file = read_json(WORKSPACE.results(architectures.NAME))
    figures = reliability([row["mAP"] for row in rows if row is not None])
    assert figures == pytest.approx(recorded_file["differences"]["mAP"], abs=1e-5)


def test_the_ranking_on_record_is_complete() -> None:
    assert len(ranking_quality.known(WORKSPACE)) == len(ranking_quality.UNITS)


@pytest.mark.parametrize("comparison", COMPARISONS, ids=lambda comparison: comparison.name)
def test_the_comparison_on_record_is_complete_and_its_figures_follow(comparison: Comparison) -> None:
    units = [(detector, seed) for detector, seeds in comparison.seeds.items() for seed in seeds]
    assert all(comparison.known(detector, method, seed) for detector, seed in units for method in comparison.methods)
    found = read_json(comparison.file)
    for detector, networks in found["networks"].items():
        again = estimates({detector: networks}, comparison.methods)
        for method, figures in found["estimates"][detector]["methods"].items():
            for name in ("mAP", "DetNAS less this"):
                if name in figures:
                    assert again["methods"][method][name] == pytest.approx(figures[name], abs=2e-5)


def test_the_winners_on_record_are_those_that_are_planned() -> None:
    planned = surrogate.planned(WORKSPACE)
    winners = recorded(WORKSPACE.results(surrogate.NAME), **surrogate.measured(planned))["winners"]
    for comparison, method, seeds in planned:
        assert set(winners[comparison.name][method]) == set(map(str, seeds))


def test_a_comparison_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"comparison\.json is missing; write it by `python -m research comparison`"):
        at_equal_macs(Workspace(tiny=True)).trainings("fpn")
