"""A dry run: a few iterations of every stage of a recipe at full resolution, and what the whole run will cost.

The stages are those of the pipeline, with the recipe shortened, in a temporary run directory. A GPU runs the recipe's
batch sizes. On a CPU each training starts with one or two images per step and restarts with the largest batch that
memory and time allow.
"""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from statistics import fmean
from tempfile import gettempdir
from typing import Any

import numpy as np

from detnas.config import Recipe, TrainingSettings
from detnas.config.finals import FinalsSettings
from detnas.config.recipe import TRAININGS
from detnas.data.batches import count_loader_processes
from detnas.data.detection import DetectionSet
from detnas.profiling import short_recipe
from detnas.profiling.timed_progress import TimedProgress, TimedTask
from detnas.profiling.workload import images_per_stage, split_sizes
from detnas.run.context import Run
from detnas.run.local_workers import count_workers, one_thread
from detnas.run.opening import open_run
from detnas.run.pipeline import SHARED, STAGES
from detnas.rundir.layout import (
    CANDIDATES,
    FINALS,
    FINETUNE,
    PRETRAIN,
    SEARCH,
    SUPERNET_FINETUNE,
    SUPERNET_PRETRAIN,
    WINNER,
)
from detnas.utils.errors import UserError
from detnas.utils.files import temporary_folder
from detnas.utils.memory import PeakMemory, available_memory
from detnas.utils.progress import Progress, format_duration

MAX_STEP_SECONDS = 10.0
MAX_TRAINING_SECONDS = 20.0
"""The longest that a step and a training should take on a CPU."""
EVALUATION_SECONDS = 5.0
MIN_GROWTH = 1.5
"""A training restarts with a batch that is larger by at least this factor, or that is the recipe's."""
MEMORY_FRACTION = 0.7
"""The fraction of the available memory that a step on a CPU may take; the rest is for larger images."""
UNLIMITED = sys.maxsize
SUPERNET_STAGES = (SUPERNET_PRETRAIN, SUPERNET_FINETUNE)
NETWORK_STAGES = (PRETRAIN, FINETUNE)


@dataclass(frozen=True)
class Row:
    """The measurements of a training, a search or an evaluation."""

    name: str
    batch_size: int
    recipe_batch_size: int
    iterations: int
    """How many steps, candidates or batches were run."""
    seconds: float
    """Seconds per iteration."""
    memory: int
    """Peak memory in bytes."""
    projected: float
    """Seconds of the whole, for all networks that this one represents."""

    def __str__(self) -> str:
        whole = "" if self.batch_size == self.recipe_batch_size else f" of {self.recipe_batch_size}"
        return _format_row(
            self.name,
            f"{self.batch_size}{whole}",
            str(self.iterations),
            f"{self.seconds:.3g} s",
            f"{self.memory / 1e9:.2f} GB",
            format_duration(self.projected),
        )


def dry_run(recipe: Recipe, data: Path | None, progress: Progress) -> list[Row]:
    """Run a few iterations of every stage of `recipe`, print the measurements, and return them.

    Uses the images in the folder `data` if given, and leaves no files. Raises `UserError` for whatever cannot work; the
    message begins with the stage if it was raised in one.
    """
    try:
        parent = Path(gettempdir())
    except OSError as error:
        raise UserError(f"no folder for temporary files ({error.strerror}); set TMPDIR to one") from None
    with temporary_folder(parent, "detnas-dry-run-") as temporary:
        short, source, description = short_recipe.with_images(short_recipe.shorten(recipe), data, temporary / "data")
        with open_run(short, temporary / "run", source, Progress(quiet=True)) as run:
            progress.log(f"Dry run of recipe {recipe.name} on this {run.device.type}, on {description}")
            progress.log(_format_row("", "batch size", "iterations", "time of one", "peak memory", "projected"))
            current = DryRun(recipe, run, has_real_data=data is not None, log=progress.log)
            for stage in STAGES:
                current.run_stage(stage)
    progress.log(_format_row("total", "", "", "", "", format_duration(sum(row.projected for row in current.rows))))
    for note in current.notes():
        progress.log(note)
    return current.rows


class DryRun:
    """A dry run of `recipe`, in progress. `run` is a run of the shortened recipe."""

    def __init__(self, recipe: Recipe, run: Run, has_real_data: bool, log: Callable[[str], None]) -> None:
        self.recipe = recipe
        self.run = run
        self.has_real_data = has_real_data
        self.log = log
        self.rows: list[Row] = []
        self.memory = PeakMemory(run.device)
        self.search_images = len(run.data.search)
        if recipe.search.is_classification:
            self.search_images = len(run.classification(None, "search")[0].samples)
        self.sizes = (self.search_images, len(run.data.val)) if has_real_data else split_sizes(recipe)
        """Of the search split and of the validation set, in the whole run."""
        self.images = images_per_stage(recipe, *self.sizes)
        # With finals, the best incumbent is trained, too.
        own = {WINNER: 2 if recipe.finals else 1}
        self.networks = {**own, **short_recipe.representative_baselines(recipe.baselines)}
        self.on_gpu = run.device.type == "cuda"
        self.workers = count_workers(replace(run, recipe=recipe))
        """Processes that share the search and the trainings after it."""
        networks = sum(self.networks.values())
        self.shares = {SEARCH: 1 / self.workers, FINALS: 1 / self.workers}
        """What fraction of the time that the work of a stage takes passes, since workers share it."""
        self.shares |= dict.fromkeys(NETWORK_STAGES, ceil(networks / self.workers) / networks)
        self._reset_evaluation()

    def _reset_evaluation(self) -> None:
        """Set the limits of evaluations before any throughput is known."""
        least = short_recipe.min_batch_size(self.recipe, "finetune")
        self.max_evaluation_batch = UNLIMITED if self.on_gpu else least
        self.max_evaluation_images = 2 * least

    def run_stage(self, stage: str) -> None:
        """Run a few iterations of a stage of the pipeline, and add its rows."""
        with one_thread() if self.workers > 1 and stage in SHARED else nullcontext():
            self._run_stage(stage)

    def _run_stage(self, stage: str) -> None:
        if stage == "finetune" and self.recipe.search.is_classification:
            self._reset_evaluation()  # the limits so far are those of classifiers
        if stage in SUPERNET_STAGES:
            self._train(stage, stage, represents=1, baselines=())
        elif stage in NETWORK_STAGES:
            names = list(self.networks)
            for index, name in enumerate(names):
                # The networks before this one are finished, so the stage skips them.
                self._train(stage, f"{stage}/{name}", self.networks[name], tuple(names[1 : index + 1]))
            if stage == FINETUNE and self.recipe.finals:
                self._project_finals(self.recipe.finals)
        elif stage == SEARCH:
            self._search()
        elif stage != FINALS:
            self._report(stage)

    def _train(self, stage: str, name: str, represents: int, baselines: tuple[str, ...]) -> None:
        """Run the training in the directory `name` and the evaluation that follows it."""
        field = stage.replace("-", "_")
        settings: TrainingSettings = getattr(self.recipe, field)

        batch_size, steps = settings.batch_size, short_recipe.steps_to_run(settings)
        if not self.on_gpu:
            batch_size, steps = min(batch_size, short_recipe.min_batch_size(self.recipe, field)), short_recipe.MIN_STEPS
        while True:
            changes = {field: short_recipe.shorten_training(settings, batch_size, steps), "baselines": baselines}
            stop = None if self.on_gpu else _stop_if_more_fits(settings, Path(name).name, batch_size, steps)
            try:
                tasks = self._attempt(stage, changes, stop)
                break
            except _MoreFits as more:
                batch_size, steps = more.args
            # Otherwise the training would resume from its checkpoint.
            shutil.rmtree(self.run.directory / name, ignore_errors=True)
        if not tasks:  # the recipe has no such training
            return
        training, *evaluations = tasks
        steps = len(training.ends)
        seconds = training.seconds_per_unit(warm_up=max(1, steps - short_recipe.measured_steps(settings)))
        # After the last step, a training writes its checkpoint.
        saving = (training.closed - training.ends[-1]) * settings.steps / settings.checkpoint_every
        share = self.shares.get(stage, 1.0)
        projected = share * represents * (self.images[stage] * seconds / batch_size + saving)
        self._add(Row(name, batch_size, settings.batch_size, steps, seconds, training.memory, projected))
        for task in evaluations:
            per_image, images = task.seconds_per_unit(warm_up=1), task.amounts[0]
            projected, whole = share * represents * self.images["evaluate"] * per_image, self.recipe.search.batch_size
            self._add(Row(task.name, images, whole, len(task.ends), per_image * images, task.memory, projected))
        if stage in (self.run.trained_supernet, "finetune"):
            self.max_evaluation_batch = UNLIMITED if batch_size == settings.batch_size else batch_size
            at_a_time = min(self.max_evaluation_batch, self.recipe.search.batch_size)
            self.max_evaluation_images = max(2 * at_a_time, int(EVALUATION_SECONDS * batch_size / seconds))

    def _project_finals(self, finals: FinalsSettings) -> None:
        """Add the row of the finals, whose trainings are as that of the winner."""
        rows = {row.name: row for row in self.rows}
        training, evaluation = rows[f"{FINETUNE}/{WINNER}"], rows[f"evaluate {WINNER}"]
        entrants = finals.entrants()
        trained = self.images["finals"] * training.seconds / training.batch_size
        evaluated = sum(entrants) * self.search_images * evaluation.seconds / evaluation.batch_size
        pretrained = 0.0
        if before := rows.get(f"{PRETRAIN}/{WINNER}"):
            pretrained = entrants[0] * before.projected / self.networks[WINNER] / self.shares[PRETRAIN]
        projected = self.shares[FINALS] * (trained + evaluated + pretrained)
        sizes = training.batch_size, training.recipe_batch_size
        self._add(Row(FINALS, *sizes, 0, training.seconds, training.memory, projected))

    def _search(self) -> None:
        settings = self.recipe.search
        short = short_recipe.shorten_search(settings, self.max_evaluation_batch, self.max_evaluation_images)
        evaluated = min(self.max_evaluation_images, self.search_images)
        images = evaluated + short.recalibration_batches * short.recalibration_batch_size
        # The fraction of images that fits into the cache is to be that of the whole run.
        cache_mb = int(self.recipe.data.cache_mb * images * settings.evaluations / self.images["search"])
        data = self.run.recipe.data.model_copy(update={"cache_mb": cache_mb})
        task, *_ = self._attempt("search", {"data": data})  # the task that follows is the check of the recalibration
        per_candidate = task.seconds_per_unit(warm_up=1)
        rows = CANDIDATES.read(self.run.directory / SEARCH)
        evaluation = fmean(row.seconds for row in rows[min(1, len(rows) - 1) :])
        # The evaluation takes longer with more images; the overhead of the study does not.
        overhead = settings.evaluations * max(0.0, per_candidate - evaluation)
        projected = self.shares[SEARCH] * (self.images["search"] * evaluation / images + overhead)
        done, whole = len(task.ends), settings.batch_size
        self._add(Row("search", short.batch_size, whole, done, per_candidate, task.memory, projected))

    def _report(self, stage: str) -> None:
        self.memory.reset()
        started = time.perf_counter()
        self._attempt(stage, {})
        seconds = time.perf_counter() - started
        self._add(Row(stage, 1, 1, 1, seconds, self.memory.peak(), seconds))

    def _attempt(
        self, stage: str, changes: dict[str, Any], on_advance: Callable[[TimedTask], None] | None = None
    ) -> list[TimedTask]:
        """Run a stage with `changes` to the shortened recipe; returns its timed tasks."""
        progress = TimedProgress(self.memory, on_advance)
        images = self.max_evaluation_images
        search = short_recipe.shorten_search(self.recipe.search, self.max_evaluation_batch, images)
        data = self.run.data
        run = replace(
            self.run,
            recipe=self.run.recipe.model_copy(update={"search": search, **changes}),
            data=replace(data, search=_subset(data.search, images), val=_subset(data.val, images)),
            progress=progress,
        )
        try:
            STAGES[stage](run)
        except UserError as error:
            raise UserError(f"{stage}: {error}") from None
        except Exception as error:
            error.add_note(f"This was raised in the dry run of {stage}.")
            raise
        return progress.tasks

    def _add(self, row: Row) -> None:
        self.rows.append(row)
        self.log(str(row))

    def notes(self) -> Iterator[str]:
        """How to read the table, and its limits."""
        yield "Projected: images of the whole recipe x measured time per image, without the first iterations."
        search, validation = self.sizes
        source = "taken from" if self.has_real_data else "as far as the recipe tells, otherwise assumed:"
        yield f"  Search split and validation set, {source} {search:,} and {validation:,} images."
        if not self.on_gpu and any(row.batch_size < row.recipe_batch_size for row in self.rows):
            yield (
                "  Batches are smaller than the recipe's where a step would take this CPU more than "
                f"{MAX_STEP_SECONDS:.0f} s, or too much memory. Whether the recipe's batches fit is not tested."
            )
        if self.workers > 1:
            yield f"  {self.workers} processes of one thread each share the search and the trainings after it."
        if self.recipe.finals:
            yield f"  The finals are not run: their {sum(self.recipe.finals.entrants())} trainings are as the winner's."
        for name, count in self.networks.items():
            if count > 1:
                yield f"  {name} represents the {count} networks of its kind."
        workers = max(count_loader_processes(getattr(self.recipe, name).workers) for name in TRAININGS)
        if workers and not self.on_gpu:
            yield f"  Memory is that of the training process, without up to {workers} data loading processes."
        if not self.memory.can_reset:
            yield "  This system cannot reset a peak of memory: each value is the highest so far."


class _MoreFits(BaseException):
    """A larger batch size or more steps fit: the arguments. Not an `Exception`, so that error handlers ignore it."""


def _stop_if_more_fits(
    settings: TrainingSettings, task_name: str, batch_size: int, steps: int
) -> Callable[[TimedTask], None]:
    """A callback that raises `_MoreFits` when the training `task_name` has warmed up, if more fits."""

    def on_advance(task: TimedTask) -> None:
        if task.name != task_name or len(task.ends) != min(short_recipe.MIN_STEPS, settings.steps):
            return
        per_image = task.seconds_per_unit(warm_up=1) / batch_size
        memory_per_image = max(1, task.memory - task.memory_before) / batch_size
        larger = choose_batch_size(per_image, memory_per_image, available_memory(), batch_size, settings.batch_size)
        if larger < min(MIN_GROWTH * batch_size, settings.batch_size):
            larger = batch_size
        affordable_steps = int(MAX_TRAINING_SECONDS / (per_image * larger))
        more_steps = max(short_recipe.MIN_STEPS, min(affordable_steps, short_recipe.steps_to_run(settings)))
        if larger > batch_size or (more_steps > steps == short_recipe.MIN_STEPS < settings.steps):
            raise _MoreFits(larger, more_steps)

    return on_advance


def choose_batch_size(
    seconds_per_image: float, memory_per_image: float, available: int | None, least: int, most: int
) -> int:
    """The largest batch size for a CPU from `least` to `most`, given the available memory in bytes if it is known."""
    batch_size = min(most, int(MAX_STEP_SECONDS / seconds_per_image))
    if available is not None:
        batch_size = min(batch_size, int(MEMORY_FRACTION * available / memory_per_image))
    return max(least, batch_size)


def _subset(data: DetectionSet, size: int) -> DetectionSet:
    """At most `size` images with boxes, evenly spaced in the set."""
    with_boxes = [index for index in range(len(data)) if not data.crowd[data.rows_of(index)].all()]
    positions = np.linspace(0, len(with_boxes) - 1, min(size, len(with_boxes))).round().astype(int)
    return data.subset([with_boxes[position] for position in positions])


def _format_row(name: str, *cells: str) -> str:
    return f"{name:24}" + "".join(f"{cell:>13}" for cell in cells)
