"""What is said of the check of the recalibration."""

from typing import Any

import pytest

from detnas.report.recalibration import explain_recalibration
from detnas.rundir.layout import RecalibrationCheck


def check(*candidates: tuple[float, float]) -> RecalibrationCheck:
    """Of candidates with a fitness in the search and one with other images."""
    rows: list[dict[str, Any]] = [
        {
            "number": number,
            "architecture": f"a{number}",
            "fitness": fitness,
            "other_images": other,
            "half": 0.2,
            "none": 0,
        }
        for number, (fitness, other) in enumerate(candidates)
    ]
    return RecalibrationCheck.model_validate(
        {"metric": "mAP", "batches": 2, "batch_size": 4, "seconds": 1.5, "candidates": rows}
    )


@pytest.mark.parametrize(
    ("candidates", "wanted"),
    [
        ([(0.40, 0.401), (0.36, 0.355)], "stays first of these 2, by a lead of 4.0 that is larger"),
        ([(0.40, 0.40), (0.39, 0.36)], "its lead of 1.0 is smaller than that"),
        ([(0.40, 0.38), (0.39, 0.389), (0.38, 0.37)], "a1 would have come first"),
        ([(0.40, 0.38)], "no second candidate"),
    ],
)
def test_the_sentence_says_whether_the_winner_owes_its_place_to_the_images(
    candidates: list[tuple[float, float]], wanted: str
) -> None:
    said = explain_recalibration(check(*candidates))
    largest = max(abs(fitness - other) for fitness, other in candidates)
    assert wanted in said and f"by up to {100 * largest:.1f} points" in said


def test_a_tie_leaves_the_winner_first() -> None:
    assert "would have come first" not in explain_recalibration(check((0.4, 0.39), (0.39, 0.39)))
