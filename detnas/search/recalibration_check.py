"""How much the best candidates' fitness owes to the images that they were recalibrated on."""

import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from detnas.distributed import comm
from detnas.models.detectors.prepared import PreparedImages
from detnas.search.evaluators.detection import DetectionEvaluator
from detnas.search.study.study import CANDIDATES
from detnas.spaces import Architecture
from detnas.utils.files import read_json, read_json_lines, try_lock_file, write_json
from detnas.utils.progress import Progress

RECALIBRATION = "recalibration.json"
BEST = 3
"""Candidates that are judged again: enough to see whether the first would still be the first."""
CHECKING = ".checking"
"""Held by who makes the check, of the workers that come to the end of a search together."""


def check_recalibration(fitness: DetectionEvaluator, directory: Path, progress: Progress) -> None:
    """Judge the best candidates of the finished search in `directory` with other BN statistics, and keep their scores.

    Once with as many other training images, once with the first half of the batches, and once without recalibration,
    by the statistics that the supernet gathered. Leaves recalibration.json, unless it stands or another worker is at
    it.
    """
    path = directory / RECALIBRATION
    with ExitStack() as stack:
        mine = comm.broadcast_from_main(
            lambda: stack.enter_context(try_lock_file(directory / CHECKING)) and not path.exists()
        )
        if not mine:
            return
        began = time.perf_counter()
        rows = [_judged(row, fitness, progress) for row in comm.broadcast_from_main(lambda: best_candidates(directory))]
        settings = fitness.settings
        found = {
            "metric": settings.score_name,
            "batches": settings.recalibration_batches,
            "batch_size": settings.recalibration_batch_size,
            "seconds": round(time.perf_counter() - began, 3),
            "candidates": rows,
        }
        if comm.is_main_process():
            write_json(path, found)


def best_candidates(directory: Path) -> Sequence[dict[str, Any]]:
    """Number, architecture and fitness of the best of a finished search, its winner first."""
    winner = read_json(directory / "best.json")["number"]
    rows = read_json_lines(directory / CANDIDATES)
    rows.sort(key=lambda row: (row["number"] != winner, -row["fitness"], row["number"]))
    return [{key: row[key] for key in ("number", "architecture", "fitness")} for row in rows[:BEST]]


def _judged(row: dict[str, Any], fitness: DetectionEvaluator, progress: Progress) -> dict[str, Any]:
    architecture = Architecture.parse(row["architecture"])
    half = max(1, fitness.settings.recalibration_batches // 2)
    calibrations: dict[str, Iterable[PreparedImages] | None] = {
        "other_images": fitness.other_calibration(),
        "half": islice(fitness.calibration, half),
        "none": None,
    }
    scores = {}
    with progress.task(f"recalibration of candidate {row['number']}", total=len(calibrations)) as bar:
        for name, batches in calibrations.items():
            scores[name] = fitness.with_statistics_of(architecture, batches).scores[fitness.settings.score_name]
            bar.advance()
    return row | scores
