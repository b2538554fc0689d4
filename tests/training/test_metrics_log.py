"""The log of a training: its rows are for people, and a cut changes none of them."""

import json
from pathlib import Path

import pytest
import torch
from small_training import CPU, Cut, Task, cut_before, timeless, train_linear
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import detnas.training.metrics_log as metrics_log
from detnas.training.metrics_log import MetricsLog, log_scores
from detnas.utils.files import read_json_lines


def scalars(directory: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard shows."""
    events = EventAccumulator(str(directory)).Reload()
    return {name: {event.step: event.value for event in events.Scalars(name)} for name in events.Tags()["scalars"]}


def test_a_row_says_how_fast_how_much_memory_and_what_was_learned(tmp_path: Path) -> None:
    train_linear(tmp_path, Task())
    rows = read_json_lines(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [10, 20, 30, 40]
    names = {"step", "seconds", "loss", "loss_a", "loss_b", "noise", "gradient_norm", "lr", "skipped_steps"}
    assert all(row.keys() == names | {"images_per_second", "memory_mb"} for row in rows)
    assert all(row["images_per_second"] > 0 and 50 < row["memory_mb"] < 100_000 for row in rows)
    shown = scalars(tmp_path)
    assert shown.keys() == rows[0].keys() - {"step", "seconds"}
    for row in rows:
        assert shown["loss"][row["step"]] == pytest.approx(row["loss"])
        assert shown["memory_mb"][row["step"]] == row["memory_mb"]


def test_images_a_second_count_what_this_process_has_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a row that was begun before a cut, only the steps after it: the others' time is not known."""
    clock = [0.0]
    monkeypatch.setattr(metrics_log.time, "perf_counter", lambda: clock[0])
    window = [{"loss": 1.0, "lr": 0.1} for _ in range(6)]
    log = MetricsLog(tmp_path, 6, window, CPU)
    for step in range(7, 21):
        clock[0] += 0.5
        log.add(step, {"loss": 3.0, "lr": 0.1}, 8)
    log.close()
    assert [row.images_per_second for row in log.rows] == [16.0, 16.0]
    assert [row.seconds for row in log.rows] == [2.0, 7.0]
    assert [row.loss for row in log.rows] == [pytest.approx(1.8), 3.0] and window == []


def test_a_row_is_the_same_wherever_it_was_cut(tmp_path: Path) -> None:
    """Checkpoints within a row, as those that a scheduler asks for."""
    train_linear(tmp_path / "whole", Task())
    for cut in (4, 9, 10, 11, 27, 44):
        with pytest.raises(Cut):
            train_linear(tmp_path / "cut", Task(), cut_before(cut), checkpoint_every=1)
    train_linear(tmp_path / "cut", Task(), checkpoint_every=1)
    assert timeless(tmp_path / "cut") == timeless(tmp_path / "whole")


def test_scores_are_a_row_of_their_own_and_stand_there_once(tmp_path: Path) -> None:
    train_linear(tmp_path, Task(), steps=20)
    before = read_json_lines(tmp_path / "metrics.jsonl")
    log_scores(tmp_path, 20, {"mAP": 0.1, "APs": None})
    log_scores(tmp_path, 20, {"mAP": 0.25, "APs": None})
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == [*before, {"step": 20, "mAP": 0.25, "APs": None}]
    (tmp_path / "done.json").unlink()  # a training that goes on knows of its own rows
    train_linear(tmp_path, Task(), steps=20)
    assert read_json_lines(tmp_path / "metrics.jsonl") == rows
    shown = scalars(tmp_path)
    assert shown["validation/mAP"] == {20: pytest.approx(0.25)} and "validation/APs" not in shown


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_memory_is_the_peak_of_its_tensors(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, 0, [], torch.device("cuda"))
    torch.zeros(100_000_000, device="cuda")
    log.add(10, {"loss": 1.0, "lr": 0.1}, 8)
    log.close()
    assert log.rows[0].memory_mb >= 400
