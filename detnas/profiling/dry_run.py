"""A dry run: every stage of a recipe for a few iterations, at its full resolution and batch, and what all will cost.

The stages are the pipeline's own, on the recipe cut short and in a temporary run directory. A GPU takes the recipe's
batches. On a CPU each training begins with one or two images a step, and is begun again with the largest batch that
memory and patience allow.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from detnas.config import Recipe, TrainingSettings
from detnas.data.batches import loading_processes
from detnas.data.detection import DetectionSet
from detnas.profiling.short_recipe import (
    LEAST_STEPS,
    TRAININGS,
    kinds,
    least_batch,
    measured_steps,
    short_search,
    short_training,
    shortened,
    steps_to_run,
    with_images,
)
from detnas.profiling.stopwatch import Laps, Stopwatch
from detnas.profiling.workload import images_per_stage, split_sizes
from detnas.run.context import WINNER, Run, open_run
from detnas.run.pipeline import STAGES
from detnas.utils.errors import UserError
from detnas.utils.files import read_json_lines
from detnas.utils.memory import PeakMemory, available_memory
from detnas.utils.progress import Progress, format_duration

STEP_SECONDS = 10.0
TRAINING_SECONDS = 20.0
"""How long a step and a training may take on a CPU, if there is a choice."""
JUDGING_SECONDS = 5.0
"""About how long a network is judged for."""
WORTHWHILE = 1.5
"""A training is begun again with a batch that is larger by this factor at least, or the recipe's."""
MEMORY_SHARE = 0.7
"""Of the available memory, what a step on a CPU may take: images differ in size."""
NO_BOUND = sys.maxsize
SUPERNET_STAGES = ("supernet-pretrain", "supernet-finetune")
NETWORK_STAGES = ("pretrain", "finetune")


@dataclass(frozen=True)
class Row:
    """What the dry run of a training, a search or a judging found out."""

    name: str
    batch_size: int
    whole_batch: int
    """The recipe's."""
    iterations: int
    """Steps, candidates or batches that were walked."""
    seconds: float
    """Of an iteration."""
    memory: int
    """Bytes at the peak."""
    projected: float
    """Seconds of the whole, for all networks that this one stands for."""

    def __str__(self) -> str:
        batch = (
            f"{self.batch_size}" if self.batch_size == self.whole_batch else f"{self.batch_size} of {self.whole_batch}"
        )
        memory = f"{self.memory / 1e9:.2f} GB"
        return _line(
            self.name, batch, str(self.iterations), f"{self.seconds:.3g} s", memory, format_duration(self.projected)
        )


def dry_run(recipe: Recipe, data: Path | None, progress: Progress) -> list[Row]:
    """Walk every stage of `recipe`, on the data in the folder `data` if given, and say what the whole will take.

    Leaves nothing behind. Raises `UserError` for whatever cannot work; if it came up in a stage, with its name.
    """
    with tempfile.TemporaryDirectory(prefix="detnas-dry_run_-") as temporary:
        short, source, rehearsed_on = with_images(shortened(recipe), data, Path(temporary) / "data")
        with open_run(short, Path(temporary) / "run", source, Progress(quiet=True)) as run:
            progress.log(f"Dry run of recipe {recipe.name} on this {run.device.type}, on {rehearsed_on}")
            progress.log(_line("", "batch", "iterations", "time of one", "peak memory", "projected"))
            dry_run_ = DryRun(recipe, run, real_data=data is not None, log=progress.log)
            for stage in STAGES:
                dry_run_.walk(stage)
    progress.log(_line("together", "", "", "", "", format_duration(sum(row.projected for row in dry_run_.rows))))
    for note in dry_run_.notes():
        progress.log(note)
    return dry_run_.rows


class DryRun:
    """A dry run under way: of `recipe`, by `run`, which is that of the shortened recipe."""

    def __init__(self, recipe: Recipe, run: Run, real_data: bool, log: Callable[[str], None]) -> None:
        self.recipe = recipe
        self.run = run
        self.real_data = real_data
        self.log = log
        self.rows: list[Row] = []
        self.memory = PeakMemory(run.device)
        self.evaluation_images = self._search_images()
        self.sizes = (self.evaluation_images, len(run.data.val)) if real_data else split_sizes(recipe)
        """Of the search split and of the validation set, in the whole run."""
        self.images = images_per_stage(recipe, *self.sizes)
        self.networks = {WINNER: 1, **kinds(recipe.baselines)}
        self.on_gpu = run.device.type == "cuda"
        self._judge_least()

    def _judge_least(self) -> None:
        """Until it is known how fast what is judged next can be: these images at a time, and in all, at most."""
        least = least_batch(self.recipe, "finetune")
        self.judging_batch = NO_BOUND if self.on_gpu else least
        self.judged = 2 * least

    def walk(self, stage: str) -> None:
        """Rehearse a stage of the pipeline."""
        if stage == "finetune" and self.recipe.search.by_classification:
            self._judge_least()  # so far classifiers have been judged
        if stage in SUPERNET_STAGES:
            self._train(stage, stage, stands_for=1, baselines=())
        elif stage in NETWORK_STAGES:
            names = list(self.networks)
            for number, name in enumerate(names):
                # Those before it are done by now, and the stage passes over them.
                self._train(stage, f"{stage}/{name}", self.networks[name], tuple(names[1 : number + 1]))
        elif stage == "search":
            self._search()
        else:
            self._report(stage)

    def _train(self, stage: str, name: str, stands_for: int, baselines: tuple[str, ...]) -> None:
        """Rehearse the training in the directory `name`, and the judging that follows it."""
        field = stage.replace("-", "_")
        whole: TrainingSettings = getattr(self.recipe, field)

        def attempt(batch_size: int, steps: int, after_lap: Callable[[Laps], None] = lambda laps: None) -> list[Laps]:
            return self._attempt(
                stage, {field: short_training(whole, batch_size, steps), "baselines": baselines}, after_lap
            )

        if self.on_gpu:
            batch = whole.batch_size
            tasks = attempt(batch, steps_to_run(whole))
        else:
            batch, tasks = self._grow(field, name, attempt)
        if not tasks:  # the recipe has no such training
            return
        training, *judgings = tasks
        seconds = training.seconds(warm_up=max(1, len(training.ends) - measured_steps(whole)))
        saving = training.closing * whole.steps / whole.checkpoint_every
        projected = stands_for * (self.images[stage] * seconds / batch + saving)
        self._add(Row(name, batch, whole.batch_size, len(training.ends), seconds, training.memory, projected))
        for judging in judgings:
            self._add(self._judging_row(judging, stands_for))
        if stage in (self.run.trained_supernet, "finetune"):
            self.judging_batch = NO_BOUND if batch == whole.batch_size else batch
            at_a_time = min(self.judging_batch, self.recipe.search.batch_size)
            self.judged = max(2 * at_a_time, int(JUDGING_SECONDS * batch / seconds))

    def _grow(
        self, field: str, name: str, attempt: Callable[[int, int, Callable[[Laps], None]], list[Laps]]
    ) -> tuple[int, list[Laps]]:
        """Begin a training with the least, and again as long as more fits; returns the last batch and its tasks."""
        whole: TrainingSettings = getattr(self.recipe, field)
        batch, steps = min(whole.batch_size, least_batch(self.recipe, field)), LEAST_STEPS
        while True:
            try:
                return batch, attempt(batch, steps, _stop_if_more_fits(whole, Path(name).name, batch, steps))
            except _MoreFits as more:
                batch, steps = more.batch_size, more.steps
            # Its checkpoint would be continued.
            shutil.rmtree(self.run.directory / name, ignore_errors=True)

    def _judging_row(self, laps: Laps, stands_for: int) -> Row:
        a_image, batch = laps.seconds(warm_up=1), laps.amounts[0]
        projected = stands_for * self.images["evaluate"] * a_image
        return Row(
            laps.name, batch, self.recipe.search.batch_size, len(laps.ends), a_image * batch, laps.memory, projected
        )

    def _search(self) -> None:
        whole = self.recipe.search
        short = short_search(whole, self.judging_batch, self.judged)
        judged = min(self.judged, self.evaluation_images)
        seen = judged + short.recalibration_batches * short.recalibration_batch_size
        # What fits into memory in the whole run is kept here, too, and nothing else.
        kept = int(self.recipe.data.cache_mb * seen * whole.evaluations / self.images["search"])
        data = self.run.recipe.data.model_copy(update={"cache_mb": kept})
        laps, *_ = self._attempt("search", {"data": data})  # what follows is the check of the recalibration
        each = laps.seconds(warm_up=1)
        rows = read_json_lines(self.run.directory / "search" / "candidates.jsonl")
        judging = fmean(row["seconds"] for row in rows[min(1, len(rows) - 1) :])
        a_image = judging / seen
        # Only the judging is longer with more images, not the keeping of the study.
        projected = self.images["search"] * a_image + whole.evaluations * max(0.0, each - judging)
        self._add(Row("search", short.batch_size, whole.batch_size, len(laps.ends), each, laps.memory, projected))

    def _search_images(self) -> int:
        """Images of the search split that there are here."""
        if self.recipe.search.by_classification:
            return len(self.run.classification(None, "search")[0].samples)
        return len(self.run.data.search)

    def _report(self, stage: str) -> None:
        self.memory.reset()
        began = time.perf_counter()
        self._attempt(stage, {})
        seconds = time.perf_counter() - began
        self._add(Row(stage, 1, 1, 1, seconds, self.memory.peak(), seconds))

    def _attempt(
        self, stage: str, changes: dict[str, Any], after_lap: Callable[[Laps], None] = lambda laps: None
    ) -> list[Laps]:
        """Run a stage with `changes` to the shortened recipe."""
        watch = Stopwatch(self.memory, after_lap)
        search = short_search(self.recipe.search, self.judging_batch, self.judged)
        data = self.run.data
        run = replace(
            self.run,
            recipe=self.run.recipe.model_copy(update={"search": search, **changes}),
            data=replace(data, search=_some(data.search, self.judged), val=_some(data.val, self.judged)),
            progress=watch,
        )
        try:
            STAGES[stage](run)
        except UserError as error:
            raise UserError(f"{stage}: {error}") from None
        except Exception as error:
            error.add_note(f"This was in the dry run of {stage}.")
            raise
        return watch.tasks

    def _add(self, row: Row) -> None:
        self.rows.append(row)
        self.log(str(row))

    def notes(self) -> Iterator[str]:
        """What to know about the table."""
        yield "Projected: images of the whole recipe x measured time an image, the first iterations left out."
        search, validation = self.sizes
        source = "taken from" if self.real_data else "as far as the recipe says, else assumed:"
        yield f"  Search split and validation set, {source} {search:,} and {validation:,} images."
        if not self.on_gpu and any(row.batch_size < row.whole_batch for row in self.rows):
            yield (
                "  Batches are smaller than the recipe's where a step would take this CPU more than "
                f"{STEP_SECONDS:.0f} s, or its memory. That the recipe's own fit is not shown."
            )
        for name, number in self.networks.items():
            if number > 1:
                yield f"  {name} stands for the {number} networks of its kind."
        workers = max(loading_processes(getattr(self.recipe, name).workers) for name in TRAININGS)
        if workers and not self.on_gpu:
            yield f"  Memory is that of the training process; up to {workers} loading processes come on top."
        if not self.memory.can_reset:
            yield "  This system does not forget a peak of memory: each is the highest up to then."


class _MoreFits(BaseException):
    """Time and memory allow a training more than it was begun with. No error: it passes those who handle errors."""

    def __init__(self, batch_size: int, steps: int) -> None:
        self.batch_size = batch_size
        self.steps = steps


def _stop_if_more_fits(whole: TrainingSettings, task: str, batch_size: int, steps: int) -> Callable[[Laps], None]:
    """Looks at the training `task` of `steps` steps once it has warmed up."""

    def look(laps: Laps) -> None:
        if laps.name != task or len(laps.ends) != min(LEAST_STEPS, whole.steps):
            return
        a_image = laps.seconds(warm_up=1) / batch_size
        memory_an_image = max(1, laps.memory - laps.memory_before) / batch_size
        more = more_images(a_image, memory_an_image, available_memory(), batch_size, whole.batch_size)
        if more < min(WORTHWHILE * batch_size, whole.batch_size):
            more = batch_size
        affordable = max(LEAST_STEPS, min(int(TRAINING_SECONDS / (a_image * more)), steps_to_run(whole)))
        if more > batch_size or (affordable > steps == LEAST_STEPS < whole.steps):
            raise _MoreFits(more, affordable)

    return look


def more_images(seconds: float, memory: float, available: int | None, least: int, most: int) -> int:
    """The batch for a CPU, from the seconds and bytes that an image takes, and the bytes available if known."""
    batch = min(most, int(STEP_SECONDS / seconds))
    if available is not None:
        batch = min(batch, int(MEMORY_SHARE * available / memory))
    return max(least, batch)


def _some(data: DetectionSet, count: int) -> DetectionSet:
    """`count` images with boxes, or as many as there are, evenly from the whole set."""
    with_boxes = [index for index in range(len(data)) if not data.crowd[data.of(index)].all()]
    places = np.linspace(0, len(with_boxes) - 1, min(count, len(with_boxes))).round().astype(int)
    return data.subset([with_boxes[place] for place in places])


def _line(*cells: str) -> str:
    name, *rest = cells
    return f"{name:24}" + "".join(f"{cell:>13}" for cell in rest)
