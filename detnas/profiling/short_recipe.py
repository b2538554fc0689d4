"""A recipe cut short for a dry run: every stage and every size as it is, but few steps, candidates and images."""

from collections import Counter
from pathlib import Path
from typing import Any

from detnas.config import DataSettings, Recipe, SearchSettings, TrainingSettings
from detnas.config.recipe import RANDOM
from detnas.data.batches import PREFETCHED
from detnas.data.synthetic import CLASSIFICATION, write_synthetic_data
from detnas.training.schedules import learning_rate

LARGE = 256
"""Detectors' maps of images so large have several values a channel, as BN in training needs, even of one image."""
LEAST_STEPS = 2
"""The first warms up."""
MEASURED = 4
"""Steps of a training that are measured, where time allows."""
NEGLIGIBLE_RATE = 1e-9
CANDIDATES = 3
"""The third descends from the first two."""
SHAPES = {"train": 240, "val": 60, "crops": 240}
"""At most so many images of the embedded data set are drawn."""
DETECTION = ("supernet_finetune", "finetune")
TRAININGS = ("supernet_pretrain", "pretrain", *DETECTION)


def shortened(recipe: Recipe) -> Recipe:
    """The recipe with the least of everything that still walks every stage."""
    trainings = {
        name: short_training(getattr(recipe, name), least_batch(recipe, name), LEAST_STEPS) for name in TRAININGS
    }
    changes = {
        "search": short_search(recipe.search, batch_size=1, judged=1),
        "baselines": tuple(kinds(recipe.baselines)),
    }
    return recipe.model_copy(update=trainings | changes)


def least_batch(recipe: Recipe, training: str) -> int:
    """What a training can be begun with where memory and time are short."""
    return 1 if training in DETECTION and recipe.detector.min_size >= LARGE else 2


def short_training(settings: TrainingSettings, batch_size: int, steps: int) -> TrainingSettings:
    """At most the first `steps` of a training, at the rate with which it begins.

    With a smaller batch next to nothing is learned: whether that diverges says nothing of the whole training.
    """
    batch_size = min(batch_size, settings.batch_size)
    changes = {
        "steps": min(steps, settings.steps),
        "batch_size": batch_size,
        "warmup": 0,
        "lr": learning_rate(settings, 0) if batch_size == settings.batch_size else NEGLIGIBLE_RATE,
    }
    return settings.model_copy(update=changes)


def measured_steps(settings: TrainingSettings) -> int:
    """Workers deliver their batches in rounds, of which one is measured."""
    return max(MEASURED, settings.workers)


def steps_to_run(settings: TrainingSettings) -> int:
    """Steps until those to be measured can begin, and these.

    Each worker has prepared up to `PREFETCHED` batches by the time that the first step has warmed up. Only once they
    are used up does a step take as long as in a long training.
    """
    return 1 + PREFETCHED * settings.workers + measured_steps(settings)


def short_search(settings: SearchSettings, batch_size: int, judged: int) -> SearchSettings:
    """A search of a few candidates: `judged` images, half as many to recalibrate on, at most `batch` at a time."""
    recalibration_batch_size = min(settings.recalibration_batch_size, batch_size)
    recalibration_batches = max(1, judged // (2 * recalibration_batch_size))
    changes = {
        "evaluations": min(settings.evaluations, CANDIDATES),
        "population": min(settings.population, CANDIDATES - 1),
        "num_parents": min(settings.num_parents, CANDIDATES - 1),
        "num_mutations": min(settings.num_mutations, 1),
        "num_crossovers": min(settings.num_crossovers, 1),
        "recalibration_batches": min(settings.recalibration_batches, recalibration_batches),
        "recalibration_batch_size": recalibration_batch_size,
        "images": judged,
        "batch_size": min(settings.batch_size, batch_size),
        "storage": None,
    }
    return settings.model_copy(update=changes)


def kinds(baselines: tuple[str, ...]) -> dict[str, int]:
    """The baselines that are rehearsed, and how many of the recipe's each stands for: random draws cost alike."""
    drawn = [name for name in baselines if name in RANDOM]
    return dict(Counter(drawn[0] if name in drawn else name for name in baselines))


def with_images(recipe: Recipe, data: Path | None, folder: Path) -> tuple[Recipe, Path | None, str]:
    """The recipe for the images of the dry run, where these lie, and what they are.

    They are those in `data` if given; or embedded ones, which the run itself draws; or stand-ins, written to `folder`.
    """
    if data is not None:
        return recipe, data, f"the images in {data}"
    if recipe.data.shapes is not None:
        fewer = {name: min(count, getattr(recipe.data.shapes, name)) for name, count in SHAPES.items()}
        shapes = recipe.data.shapes.model_copy(update=fewer)
        changed = recipe.data.model_copy(update={"shapes": shapes})
        return recipe.model_copy(update={"data": changed}), None, "some images of the embedded data set"
    folders = recipe.pretraining.source == "folder"
    write_synthetic_data(folder, classification=folders)
    # Decoded at every use: a data set that a stand-in is needed for is seldom small enough to be kept in memory.
    changes: dict[str, Any] = {"data": DataSettings(search_fraction=1 / 3, cache_mb=0)}
    if folders:
        changes["pretraining"] = recipe.pretraining.model_copy(update={"folder": CLASSIFICATION})
    return recipe.model_copy(update=changes), folder, "synthetic images"
