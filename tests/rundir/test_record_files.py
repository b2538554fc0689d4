"""Files of records: what is written, what is refused when it is read."""

import json
import math
from pathlib import Path

import pytest

from detnas.rundir.layout import CANDIDATES, DETECTIONS, METRICS, TRAINING_DONE, Candidate, MetricsRow, TrainingDone
from detnas.utils.errors import UserError

CANDIDATE = Candidate(
    number=1,
    generation=0,
    origin="random",
    architecture="00 00 0000 00",
    macs=3,
    params=2,
    fitness=0.5,
    metric="mAP",
    AP50=None,
    seconds=1.5,
)


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    assert TRAINING_DONE.find(tmp_path) is None and CANDIDATES.read(tmp_path) == []
    TRAINING_DONE.write(tmp_path, TrainingDone(seconds=2.0, steps=10))
    assert TRAINING_DONE.read(tmp_path) == TrainingDone(seconds=2.0, steps=10)
    timed = CANDIDATE.model_copy(update={"number": 2, "latency_ms": 4.5})
    CANDIDATES.write(tmp_path, [CANDIDATE, timed])
    assert CANDIDATES.read(tmp_path) == [CANDIDATE, timed]
    assert timed.cost("latency") == 4.5 and CANDIDATE.cost("latency") == 0


def test_what_is_not_known_is_not_written(tmp_path: Path) -> None:
    CANDIDATES.write(tmp_path, [CANDIDATE])
    row = json.loads(CANDIDATES.path(tmp_path).read_text())
    assert "latency_ms" not in row and row["AP50"] is None


def test_rows_of_metrics_keep_whatever_was_measured(tmp_path: Path) -> None:
    rows = [
        MetricsRow.model_validate({"step": 10, "seconds": 1.5, "loss": math.nan, "loss_box": 0.25, "memory_mb": 99}),
        MetricsRow.model_validate({"step": 10, "mAP": 0.5, "APs": None}),
    ]
    METRICS.write(tmp_path, rows)
    first, scores = METRICS.read(tmp_path)
    assert first.loss is not None and math.isnan(first.loss) and first.metrics["loss_box"] == 0.25
    assert scores == rows[1] and scores.metrics == {"mAP": 0.5}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "Expecting property name"),
        ("[1]", "valid dictionary"),
        ('{"seconds": 1.0}', "steps: Field required"),
        ('{"seconds": "long", "steps": 3}', "seconds: Input should be a valid number"),
        ('{"seconds": 1.0, "steps": 3, "pictures": 9}', "pictures: Extra inputs are not permitted"),
    ],
)
def test_a_damaged_file_is_named_with_what_to_do(text: str, said: str, tmp_path: Path) -> None:
    TRAINING_DONE.path(tmp_path).write_text(text)
    with pytest.raises(UserError, match=r"done\.json is damaged \(.*; delete it and give the run's command") as refusal:
        TRAINING_DONE.read(tmp_path)
    assert said in str(refusal.value)


def test_a_torn_last_line_is_skipped_and_no_other(tmp_path: Path) -> None:
    CANDIDATES.write(tmp_path, [CANDIDATE])
    path = CANDIDATES.path(tmp_path)
    path.write_text(path.read_text() + '{"number": 2, "gen')
    assert CANDIDATES.read(tmp_path) == [CANDIDATE]
    path.write_text('{"number": 2, "gen\n' + path.read_text())
    with pytest.raises(UserError, match=r"candidates\.jsonl is damaged"):
        CANDIDATES.read(tmp_path)


def test_detections_are_plain_coco_results(tmp_path: Path) -> None:
    results = [{"image_id": 1, "category_id": 7, "bbox": [0.0, 1.0, 2.0, 3.0], "score": 0.5}]
    DETECTIONS.write(tmp_path, results)
    assert DETECTIONS.read(tmp_path) == results == json.loads(DETECTIONS.path(tmp_path).read_text())


def test_a_log_gives_the_rows_that_are_whole_and_says_which_are_not(tmp_path: Path) -> None:
    METRICS.write(tmp_path, [MetricsRow(step=step, loss=1.0) for step in (10, 20, 30)])
    path = METRICS.path(tmp_path)
    first, second, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second.replace(b"20", b"2\xb0") + third + b'{"step": 40, "lo')
    said: list[str] = []
    assert [row.step for row in METRICS.read_log(tmp_path, said.append)] == [10, 30]
    assert said == [f"  {path} is damaged; 1 of its 3 rows are left out, the first in line 2"]
    path.unlink()
    path.mkdir()
    assert METRICS.read_log(tmp_path, said.append) == [] and "it is a folder" in said[1]
    assert METRICS.read_log(tmp_path / "nowhere", said.append) == [] and len(said) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe{", "is damaged (it is not text)"),
        (b"[" * 100_000, "is damaged (it is nested too deep)"),
        (b'{"seconds": 1, "steps": ' + b"9" * 5000 + b"}", "is damaged (Exceeds the limit"),
        (b'{"seconds": NaN, "steps": 1}', "is damaged (seconds: Input should be"),
        (b'{"seconds": 1, "steps": 9999999999999999999}', "is damaged (steps: Input should be less"),
        (None, "cannot be read (it is a folder)"),
    ],
)
def test_whatever_a_file_holds_is_one_line(content: bytes | None, said: str, tmp_path: Path) -> None:
    path = TRAINING_DONE.path(tmp_path)
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    for read in (TRAINING_DONE.read, TRAINING_DONE.find):
        with pytest.raises(UserError) as refusal:
            read(tmp_path)
        assert said in str(refusal.value) and "\n" not in str(refusal.value)
    assert TRAINING_DONE.find_intact(tmp_path) is None


def test_a_file_that_is_needed_and_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"done\.json is missing; give the run's command again"):
        TRAINING_DONE.read(tmp_path)
    assert TRAINING_DONE.find(tmp_path) is None and TRAINING_DONE.find_intact(tmp_path) is None
