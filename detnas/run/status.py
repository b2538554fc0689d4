"""The progress of a run, read from its directory alone."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

from detnas.config import Recipe, load_recipe
from detnas.config.beginnings import describe_beginnings, is_pretrained
from detnas.config.finals import FinalsSettings
from detnas.evaluation.headline import headline
from detnas.report.finals import describe
from detnas.run.names import network_names
from detnas.rundir import layout
from detnas.rundir.directory import read_stored_run
from detnas.rundir.layout import MetricsRow, NetworkEvaluation
from detnas.search.study.optuna_internals import count_trials
from detnas.spaces import Cost, SearchSpace
from detnas.spaces.cost import format_shares
from detnas.utils.files import is_file

State = Literal["not started", "started", "in progress", "done"]
SAVED = (layout.METRICS.name, layout.CANDIDATES.name, layout.STUDY, layout.TRAINING_DONE.name, layout.EVALUATION.name)
"""The files that stages write as they proceed."""
LAST = 20
"""Rows of a log from which the throughput is computed."""


@dataclass(frozen=True)
class StageStatus:
    """The progress of a training or of the search."""

    name: str
    state: State
    done: int
    total: int
    unit: Literal["step", "candidate", "network"]
    spent: float | None
    """Seconds so far."""
    seconds_per_unit: float | None
    """By the last rows of its log."""
    headline: str
    """What it has reached: the loss, the scores, or the best fitness."""
    line: str
    """All of this in one line of text."""
    scores: Sequence[str] = ()
    """Further lines on a network that has been evaluated."""

    @property
    def left(self) -> float | None:
        """Estimated seconds until it is done, from when the last row was saved."""
        if self.seconds_per_unit is None or self.state == "done":
            return None
        return self.seconds_per_unit * max(0, self.total - self.done)


@dataclass(frozen=True)
class RunStatus:
    """The progress of a run."""

    directory: Path
    name: str
    stages: Sequence[StageStatus]
    report: Path | None
    """The page, once it has been written."""
    notes: Sequence[str] = ()
    """Lines on the weights with which the run began, and on damaged logs."""

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.report is not None and all(stage.state == "done" for stage in self.stages)

    @property
    def age(self) -> float:
        """Seconds since the run last saved something."""
        saved = [self.directory / stage.name / name for stage in self.stages for name in SAVED]
        times = [path.stat().st_mtime for path in (self.directory / layout.RECIPE, *saved) if is_file(path)]
        return max(0.0, time.time() - max(times, default=0.0))


def read_status(directory: Path) -> RunStatus:
    """The progress of the run in `directory`. Raises `UserError` if it holds no run."""
    read_stored_run(directory)
    recipe = load_recipe(directory / layout.RECIPE)
    report = directory / layout.REPORT
    beginnings = describe_beginnings(recipe, layout.PRETRAINED.find(directory))
    notes = [beginnings] if beginnings else []
    stages = list(_stages(directory, recipe, notes.append))
    return RunStatus(directory, recipe.name, stages, report if is_file(report) else None, notes)


def format_status(directory: Path) -> Iterator[str]:
    """Plain lines on the progress of a run. Raises `UserError` if `directory` holds no run."""
    status = read_status(directory)
    yield f"{directory}: recipe {status.name}"
    for stage in status.stages:
        yield stage.line
        yield from (f"  {line}" for line in stage.scores)
    yield from status.notes
    yield f"report: {status.report or 'not written yet'}"


def watch(directory: Path, show: Callable[[RunStatus], object], pause: Callable[[], object]) -> None:
    """Call `show` again and again, with a `pause` in between, until nothing is left to do."""
    while True:
        status = read_status(directory)
        show(status)
        if status.is_finished:
            return
        pause()


def _stages(directory: Path, recipe: Recipe, log: Callable[[str], object]) -> Iterator[StageStatus]:
    if recipe.pretrains_supernet:
        yield _training(directory, layout.SUPERNET_PRETRAIN, recipe.supernet_pretrain.steps, log)
    if not recipe.search.is_classification:
        yield _training(directory, layout.SUPERNET_FINETUNE, recipe.supernet_finetune.steps, log)
    yield _search(directory / layout.SEARCH, recipe)
    if recipe.finals:
        yield _finals(directory / layout.FINALS, recipe.finals, recipe.search_space())
    for network in network_names(directory, recipe):
        if is_pretrained(recipe, network):
            yield _training(directory, f"{layout.PRETRAIN}/{network}", recipe.pretrain.steps, log)
        scores = _evaluation_lines(directory, network, recipe)
        yield _training(directory, f"{layout.FINETUNE}/{network}", recipe.finetune.steps, log, scores)


def _evaluation_lines(directory: Path, network: str, recipe: Recipe) -> Sequence[str]:
    evaluation = layout.EVALUATION.find(directory / layout.FINETUNE / network)
    if evaluation is None:
        return ()
    cost = Cost(evaluation.macs, evaluation.params, round(1e3 * (evaluation.latency_ms or 0)))
    return (
        f"{evaluation.architecture or network}: {cost.in_millions()} ({_describe_parts(evaluation, recipe)})",
        f"{headline(evaluation.scores, recipe.search.metric)} on the validation set",
    )


def _describe_parts(evaluation: NetworkEvaluation, recipe: Recipe) -> str:
    """Whose cost it is, and what share of the detector's MACs each of its parts has."""
    macs: dict[str, int] = {name: part.macs for name, part in evaluation.parts.items()}
    if recipe.budget.of == "backbone":
        whole = sum(macs.values()) / 1e6
        return f"the backbone; the whole detector has {whole:.1f}M MACs: {format_shares(macs)}"
    return f"the whole detector: {format_shares(macs)}"


def _training(
    directory: Path, name: str, steps: int, log: Callable[[str], object], scores: Sequence[str] = ()
) -> StageStatus:
    folder = directory / name
    rows = [row for row in layout.METRICS.read_log(folder, log) if row.loss is not None]
    finished = layout.TRAINING_DONE.find(folder)
    state = _state(folder, finished is not None, rows)
    loss = f"loss {rows[-1].loss:.3f}" if rows else ""
    done, spent, line = 0, None, f"{name}: {state}"
    if finished is not None:
        done, spent = steps, finished.seconds
        line += f", {spent:.0f} s"
    elif rows:
        done, spent = rows[-1].step, rows[-1].seconds
        line = f"{name}: {done} of {steps} steps saved, {loss}"
    shown = scores[1].removesuffix(" on the validation set") if scores else loss
    return StageStatus(name, state, done, steps, "step", spent, _seconds_per_step(rows[-LAST:]), shown, line, scores)


def _state(folder: Path, is_done: bool, rows: Sequence[object]) -> State:
    if is_done:
        return "done"
    return "in progress" if rows else "started" if folder.exists() else "not started"


def _seconds_per_step(rows: Sequence[MetricsRow]) -> float | None:
    """Between the first and the last row of a log."""
    if len(rows) < 2 or rows[-1].step <= rows[0].step:
        return None
    return ((rows[-1].seconds or 0.0) - (rows[0].seconds or 0.0)) / (rows[-1].step - rows[0].step)


def _search(folder: Path, recipe: Recipe) -> StageStatus:
    rows, total = layout.CANDIDATES.read(folder), recipe.search.evaluations
    is_done = layout.SEARCH_DONE.find(folder) is not None
    state = _state(folder, is_done, rows)
    done, workers = (len(rows), 0) if is_done else _count_in_study(folder / layout.STUDY, len(rows))
    best = f"best {recipe.search.score_name} {max(row.fitness for row in rows):.3f}" if rows else ""
    count_failed, front = len(layout.FAILED.read(folder)), layout.FRONT.find(folder)
    failed = f"{count_failed} more failed" if count_failed else ""
    line = [
        state,
        f"{len(rows)} of {total} candidates",
        f"{failed} (search/{layout.FAILED.name})" if failed else "",
        f"{best} on the search split",
        f"{len(front)} on the front (search/{layout.FRONT.name})" if front else "",
    ]
    return StageStatus(
        name=layout.SEARCH,
        state=state,
        done=done,
        total=total,
        unit="candidate",
        spent=sum(row.seconds for row in rows) if rows else None,
        seconds_per_unit=fmean(row.seconds for row in rows[-LAST:]) / max(1, workers) if rows else None,
        headline=", ".join(filter(None, (best, failed, f"{workers} workers at work" if workers > 1 else ""))),
        line=f"search: {', '.join(filter(None, line)) if rows else state}",
    )


def _finals(folder: Path, settings: FinalsSettings, space: SearchSpace) -> StageStatus:
    """The trainings of the finals; of those that are not over, as many as there are at most."""
    trained = list(folder.glob(f"rung*/{layout.FINETUNE}/*/{layout.EVALUATION.name}"))
    result = layout.FINALS_RESULT.find(folder)
    state = _state(folder, result is not None, trained)
    total = len(trained) if result else sum(settings.entrants())
    seconds = [done.seconds for file in trained if (done := layout.TRAINING_DONE.find(file.parent))]
    found = describe(result, space) if result else []
    line = f"finals: {state}" + (
        f", {len(trained)} of at most {total} trainings done" if trained and not result else ""
    )
    return StageStatus(
        name=layout.FINALS,
        state=state,
        done=len(trained),
        total=total,
        unit="network",
        spent=sum(seconds) if seconds else None,
        seconds_per_unit=fmean(seconds) if seconds else None,
        headline=found[0] if found else "",
        line=line,
        scores=found,
    )


def _count_in_study(path: Path, known: int) -> tuple[int, int]:
    """Finished candidates, and candidates that workers evaluate now, by the study; else the `known` number and 0.

    The study knows sooner than candidates.jsonl. A study on a server is not asked.
    """
    finished, running = count_trials(path) or (known, 0)
    return max(known, finished), running
