"""A check of how much the best candidates' fitness depends on the images that they were recalibrated on."""

import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from detnas.distributed import comm
from detnas.models.detectors.prepared import PreparedImages
from detnas.rundir import layout
from detnas.search.evaluators.detection import DetectionEvaluator
from detnas.spaces import Architecture
from detnas.utils.files import try_lock_file
from detnas.utils.progress import Progress

NUM_CHECKED = 3
"""Candidates that are evaluated again: enough to see whether the first would still be the first."""


def check_recalibration(evaluator: DetectionEvaluator, directory: Path, progress: Progress) -> None:
    """Evaluate the best candidates of the finished search in `directory` with other BN statistics.

    Once with as many other training images, once with the first half of the batches, and once without recalibration,
    with the supernet's statistics. Writes recalibration.json, unless it is whole, or another worker is making it.
    """
    with ExitStack() as stack:
        is_mine = comm.broadcast_from_main(
            lambda: (
                stack.enter_context(try_lock_file(directory / layout.CHECKING_LOCK))
                and layout.RECALIBRATION.find_intact(directory) is None
            )
        )
        if not is_mine:
            return
        began = time.perf_counter()
        best = comm.broadcast_from_main(lambda: [row.model_dump() for row in best_candidates(directory)])
        rows = [_evaluate_again(layout.Candidate(**row), evaluator, progress) for row in best]
        settings = evaluator.settings
        check = layout.RecalibrationCheck(
            metric=settings.score_name,
            batches=settings.recalibration_batches,
            batch_size=settings.recalibration_batch_size,
            seconds=round(time.perf_counter() - began, 3),
            candidates=rows,
        )
        if comm.is_main_process():
            layout.RECALIBRATION.write(directory, check)


def best_candidates(directory: Path) -> Sequence[layout.Candidate]:
    """The best candidates of a finished search, its winner first."""
    winner = layout.BEST.read(directory).number
    rows = layout.CANDIDATES.read(directory)
    rows.sort(key=lambda row: (row.number != winner, -row.fitness, row.number))
    return rows[:NUM_CHECKED]


def _evaluate_again(
    row: layout.Candidate, evaluator: DetectionEvaluator, progress: Progress
) -> layout.RecalibratedCandidate:
    architecture = Architecture.parse(row.architecture)
    evaluator = evaluator.at(architecture.resolution)
    half = max(1, evaluator.settings.recalibration_batches // 2)
    calibrations: dict[str, Iterable[PreparedImages] | None] = {
        "other_images": evaluator.draw_other_calibration(),
        "half": islice(evaluator.calibration, half),
        "none": None,
    }
    scores: dict[str, Any] = {}
    with progress.task(f"recalibration of candidate {row.number}", total=len(calibrations)) as bar:
        for name, batches in calibrations.items():
            scores[name] = evaluator.evaluate_with(architecture, batches).scores[evaluator.settings.score_name]
            bar.advance()
    return layout.RecalibratedCandidate(number=row.number, architecture=row.architecture, fitness=row.fitness, **scores)
