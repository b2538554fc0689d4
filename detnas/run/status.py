"""Where a run stands, read from its directory alone."""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from detnas.config import Recipe, load_recipe
from detnas.evaluation.evaluate import headline
from detnas.rundir.directory import RECIPE, read_stored_run
from detnas.search.study.storage import GRACE
from detnas.spaces import Cost
from detnas.utils.files import read_json, read_json_lines

State = Literal["not begun", "begun", "under way", "done"]
FINISHED = "SELECT COUNT(*) FROM trials WHERE state = 'COMPLETE'"
RUNNING = """SELECT COUNT(*) FROM trials JOIN trial_heartbeats USING (trial_id)
WHERE state = 'RUNNING' AND heartbeat > datetime('now', ?)"""
SAVED = ("metrics.jsonl", "candidates.jsonl", "study.db", "done.json", "evaluation.json")
"""What stages write as they go on."""
LAST = 20
"""Rows of a log by which the pace is told."""


@dataclass(frozen=True)
class Standing:
    """Where a training or the search stands."""

    name: str
    state: State
    done: int
    total: int
    unit: Literal["step", "candidate"]
    spent: float | None
    """Seconds."""
    pace: float | None
    """Seconds a unit, by the last rows of its log."""
    headline: str
    line: str
    """All of it, for who reads lines."""
    scores: Sequence[str] = ()
    """Further lines on a network that has been judged."""

    @property
    def left(self) -> float | None:
        """Seconds until it is done, when the last rows were saved."""
        return None if self.pace is None or self.state == "done" else self.pace * max(0, self.total - self.done)


@dataclass(frozen=True)
class Status:
    """Where a run stands."""

    directory: Path
    name: str
    stages: Sequence[Standing]
    report: Path | None

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do."""
        return self.report is not None and all(stage.state == "done" for stage in self.stages)

    @property
    def age(self) -> float:
        """Seconds since the run has saved something."""
        saved = [self.directory / stage.name / name for stage in self.stages for name in SAVED]
        times = [path.stat().st_mtime for path in (self.directory / RECIPE, *saved) if path.exists()]
        return max(0.0, time.time() - max(times))


def status_of(directory: Path) -> Status:
    """Raises `UserError` if `directory` holds no run."""
    read_stored_run(directory)
    recipe = load_recipe(directory / RECIPE)
    report = directory / "report.html"
    return Status(directory, recipe.name, list(_stages(directory, recipe)), report if report.exists() else None)


def describe(directory: Path) -> Iterator[str]:
    """Lines for people and scripts. Raises `UserError` if `directory` holds no run."""
    status = status_of(directory)
    yield f"{directory}: recipe {status.name}"
    for stage in status.stages:
        yield stage.line
        yield from (f"  {line}" for line in stage.scores)
    yield f"report: {status.report or 'not written yet'}"


def _stages(directory: Path, recipe: Recipe) -> Iterator[Standing]:
    if recipe.pretrains_supernet:
        yield _training(directory, "supernet-pretrain", recipe.supernet_pretrain.steps)
    if not recipe.search.by_classification:
        yield _training(directory, "supernet-finetune", recipe.supernet_finetune.steps)
    yield _search(directory, recipe)
    for network in ("winner", *recipe.baselines):
        if recipe.pretraining.source != "none":
            yield _training(directory, f"pretrain/{network}", recipe.pretrain.steps)
        yield _training(directory, f"finetune/{network}", recipe.finetune.steps, _judged(directory, network, recipe))


def _judged(directory: Path, network: str, recipe: Recipe) -> Sequence[str]:
    evaluation = directory / "finetune" / network / "evaluation.json"
    if not evaluation.exists():
        return ()
    found = read_json(evaluation)
    cost = Cost(found["macs"], found["params"], round(1e3 * found.get("latency_ms", 0)))
    return (
        f"{found['architecture'] or network}: {cost.in_millions()}",
        f"{headline(found['scores'], recipe.search.metric)} on the validation set",
    )


def _training(directory: Path, name: str, steps: int, scores: Sequence[str] = ()) -> Standing:
    finished = directory / name / "done.json"
    rows = [row for row in read_json_lines(directory / name / "metrics.jsonl") if "loss" in row]
    loss = f"loss {rows[-1]['loss']:.3f}" if rows else ""

    def standing(state: State, done: int, spent: float | None, said: str) -> Standing:
        pace = _pace([(row["step"], row["seconds"]) for row in rows[-LAST:]])
        shown = scores[1].removesuffix(" on the validation set") if scores else loss
        return Standing(name, state, done, steps, "step", spent, pace, shown, f"{name}: {said}", scores)

    if finished.exists():
        seconds = read_json(finished)["seconds"]
        return standing("done", steps, seconds, f"done, {seconds:.0f} s")
    if not rows:
        state: State = "begun" if (directory / name).exists() else "not begun"
        return standing(state, 0, None, state)
    done = rows[-1]["step"]
    return standing("under way", done, rows[-1]["seconds"], f"{done} of {steps} steps saved, {loss}")


def _pace(points: Sequence[tuple[int, float]]) -> float | None:
    """Seconds a step between the first and the last (step, seconds)."""
    if len(points) < 2:
        return None
    (first, began), (last, ended) = points[0], points[-1]
    return (ended - began) / (last - first)


def _search(directory: Path, recipe: Recipe) -> Standing:
    folder = directory / "search"
    total = recipe.search.evaluations
    rows = read_json_lines(folder / "candidates.jsonl")
    finished = folder / "done.json"
    if finished.exists():
        state: State = "done"
    elif rows:
        state = "under way"
    else:
        state = "begun" if folder.exists() else "not begun"
    done, workers = (len(rows), 0) if finished.exists() else _in_study(folder / "study.db", len(rows))
    fitness = [row["fitness"] for row in rows]
    best = f"best {recipe.search.score_name} {max(fitness):.3f}" if fitness else ""
    at_work = f"{workers} workers at work" if workers > 1 else ""
    return Standing(
        name="search",
        state=state,
        done=done,
        total=total,
        unit="candidate",
        spent=sum(row["seconds"] for row in rows) if rows else None,
        pace=fmean(row["seconds"] for row in rows[-LAST:]) / max(1, workers) if rows else None,
        headline=", ".join(filter(None, (best, _failed(folder), at_work))),
        line=f"search: {_search_in_words(folder, state, rows, total, best) if rows else state}",
    )


def _search_in_words(folder: Path, state: State, rows: Sequence[dict[str, Any]], total: int, best: str) -> str:
    but = _failed(folder)
    front = folder / "front.json"
    facts = [
        state,
        f"{len(rows)} of {total} candidates",
        *([f"{but} (search/failed.jsonl)"] if but else []),
        *([f"{best} on the search split"] if best else []),
        *([f"{len(read_json(front))} on the front (search/front.json)"] if front.exists() else []),
    ]
    return ", ".join(facts)


def _failed(folder: Path) -> str:
    count = len(read_json_lines(folder / "failed.jsonl"))
    return f"{count} more failed" if count else ""


def _in_study(path: Path, known: int) -> tuple[int, int]:
    """Candidates that are finished and that are at work, by the study; those `known` where it does not tell.

    It knows sooner than candidates.jsonl. Its tables are Optuna's own; a study on a server is not asked.
    """
    if not path.exists():
        return known, 0
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=1)) as study:
            ((finished,),) = study.execute(FINISHED).fetchall()
            ((running,),) = study.execute(RUNNING, (f"-{GRACE} seconds",)).fetchall()
    except sqlite3.Error:
        return known, 0
    return max(known, finished), running


def watch(directory: Path, show: Callable[[Status], object], pause: Callable[[], object]) -> None:
    """Call `show` again and again, with a `pause` between, until nothing is left to do."""
    while True:
        status = status_of(directory)
        show(status)
        if status.ended:
            return
        pause()
