"""How much the best candidates' fitness owes to the pictures that they were recalibrated on."""

import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from detnas.distributed import comm
from detnas.models.detectors.prepared import PreparedPictures
from detnas.search.evaluators.detection import Fitness
from detnas.search.study.study import CANDIDATES
from detnas.spaces import Architecture
from detnas.utils.files import held, read_json, read_json_lines, write_json
from detnas.utils.progress import Progress

RECALIBRATION = "recalibration.json"
BEST = 3
"""Candidates that are judged again: enough to see whether the first would still be the first."""
CHECKING = ".checking"
"""Held by who makes the check, of the workers that come to the end of a search together."""


def check_recalibration(fitness: Fitness, directory: Path, progress: Progress) -> None:
    """Judge the best candidates of the finished search in `directory` with other BN statistics, and keep their scores.

    Once with as many other training pictures, once with the first half of the batches, and once without recalibration,
    by the statistics that the supernet gathered. Leaves recalibration.json, unless it stands or another worker is at
    it.
    """
    path = directory / RECALIBRATION
    with ExitStack() as stack:
        mine = comm.from_first(lambda: stack.enter_context(held(directory / CHECKING)) and not path.exists())
        if not mine:
            return
        began = time.perf_counter()
        rows = [_judged(row, fitness, progress) for row in comm.from_first(lambda: best_candidates(directory))]
        settings = fitness.settings
        found = {
            "metric": settings.score,
            "batches": settings.recalibration_batches,
            "batch": settings.recalibration_batch,
            "seconds": round(time.perf_counter() - began, 3),
            "candidates": rows,
        }
        if comm.is_first():
            write_json(path, found)


def best_candidates(directory: Path) -> Sequence[dict[str, Any]]:
    """Number, architecture and fitness of the best of a finished search, its winner first."""
    winner = read_json(directory / "best.json")["number"]
    rows = [row for row in read_json_lines(directory / CANDIDATES) if row["fitness"] is not None]
    rows.sort(key=lambda row: (row["number"] != winner, -row["fitness"], row["number"]))
    return [{key: row[key] for key in ("number", "architecture", "fitness")} for row in rows[:BEST]]


def _judged(row: dict[str, Any], fitness: Fitness, progress: Progress) -> dict[str, Any]:
    architecture = Architecture.parse(row["architecture"])
    half = max(1, fitness.settings.recalibration_batches // 2)
    calibrations: dict[str, Iterable[PreparedPictures] | None] = {
        "other_pictures": fitness.other_calibration(),
        "half": islice(fitness.calibration, half),
        "none": None,
    }
    scores = {}
    with progress.task(f"recalibration of candidate {row['number']}", total=len(calibrations)) as bar:
        for name, batches in calibrations.items():
            scores[name] = fitness.with_statistics_of(architecture, batches).scores[fitness.settings.score]
            bar.advance()
    return row | scores
