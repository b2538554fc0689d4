"""Reading a run directory: what is refused, what is forgiven."""

from pathlib import Path

import pytest
import run_directory as made

from detnas.report.collect import collect
from detnas.utils.errors import UserError


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no run \(there is no recipe\.yaml\)"):
        collect(tmp_path)


def test_a_broken_json_file_is_named(tmp_path: Path) -> None:
    made.write_recipe(tmp_path)
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "best.json").write_text("{")
    with pytest.raises(UserError, match=r"best\.json is damaged"):
        collect(tmp_path)


def test_the_later_of_two_lines_of_a_step_counts(tmp_path: Path) -> None:
    made.write_recipe(tmp_path)
    lines = [{"step": step, "loss": loss} for step, loss in ((10, 3.0), (20, 9.0), (20, 2.0), (30, float("nan")))]
    made.write_lines(tmp_path / "supernet-finetune" / "metrics.jsonl", lines)
    training = next(training for training in collect(tmp_path).trainings if training.stage == "supernet-finetune")
    assert (training.curves["loss"].steps, training.curves["loss"].values) == ([10, 20], [3.0, 2.0])
    assert training.seconds is None


def test_networks_of_the_recipe_come_before_those_found(tmp_path: Path) -> None:
    made.write_recipe(tmp_path, baselines=["random"])
    made.add_evaluation(tmp_path, "mine", "0000 0000 00000000 0000", 0.2)
    networks = collect(tmp_path).networks
    assert [network.name for network in networks] == ["winner", "random", "mine"]
    assert [network.is_evaluated for network in networks] == [False, False, True]
