"""A recipe shortened for a dry run: all stages and sizes unchanged, but few steps, candidates and images."""

from collections import Counter
from pathlib import Path
from typing import Any

from detnas.config import DataSettings, Recipe, SearchSettings, TrainingSettings
from detnas.config.recipe import RANDOM, TRAININGS
from detnas.data.batches import PREFETCHED
from detnas.data.synthetic import CLASSIFICATION, write_synthetic_data
from detnas.training.schedules import learning_rate

LARGE_SIZE = 256
"""From this image size on, BN can train on one image: a detector's smallest maps have several values per channel."""
MIN_STEPS = 2
"""The first step is for warm-up."""
MEASURED_STEPS = 4
"""Steps of a training that are measured if there is enough time."""
NEGLIGIBLE_RATE = 1e-9
CANDIDATES = 3
"""The third candidate is a child of the first two."""
SHAPES = {"train": 240, "val": 60, "crops": 240}
"""The maximum number of images of the embedded data set that are drawn."""
DETECTION = ("supernet_finetune", "finetune")


def shorten(recipe: Recipe) -> Recipe:
    """The recipe with as little of everything as still runs every stage but the finals, whose trainings are as that of
    the winner."""
    trainings = {
        name: shorten_training(getattr(recipe, name), min_batch_size(recipe, name), MIN_STEPS) for name in TRAININGS
    }
    changes = {
        "search": shorten_search(recipe.search, batch_size=1, images=1),
        "baselines": tuple(representative_baselines(recipe.baselines)),
        "finals": None,
    }
    return recipe.model_copy(update=trainings | changes)


def min_batch_size(recipe: Recipe, training: str) -> int:
    """The batch size with which a training starts where memory and time may be short."""
    return 1 if training in DETECTION and recipe.detector.min_size >= LARGE_SIZE else 2


def shorten_training(settings: TrainingSettings, batch_size: int, steps: int) -> TrainingSettings:
    """At most the first `steps` of a training, at its initial learning rate."""
    batch_size = min(batch_size, settings.batch_size)
    changes = {
        "steps": min(steps, settings.steps),
        "batch_size": batch_size,
        "warmup": 0,
        # Negligible for a smaller batch: whether such a training diverges tells nothing about the recipe's.
        "lr": learning_rate(settings, 0) if batch_size == settings.batch_size else NEGLIGIBLE_RATE,
    }
    return settings.model_copy(update=changes)


def measured_steps(settings: TrainingSettings) -> int:
    """The number of steps to measure: with workers at least one per worker, since these deliver batches in rounds."""
    return max(MEASURED_STEPS, settings.workers)


def steps_to_run(settings: TrainingSettings) -> int:
    """The number of steps before the measured ones, and these."""
    # After the first step each worker has up to `PREFETCHED` batches ready, so the next steps are too fast to measure.
    return 1 + PREFETCHED * settings.workers + measured_steps(settings)


def shorten_search(settings: SearchSettings, batch_size: int, images: int) -> SearchSettings:
    """A search of a few candidates, on `images` and half as many for recalibration, at most `batch_size` at a time."""
    recalibration_batch_size = min(settings.recalibration_batch_size, batch_size)
    recalibration_batches = max(1, images // (2 * recalibration_batch_size))
    most = {"evaluations": CANDIDATES, "population": CANDIDATES - 1, "num_parents": CANDIDATES - 1}
    most |= {"num_mutations": 1, "num_crossovers": 1, "batch_size": batch_size}
    most |= {"recalibration_batches": recalibration_batches, "recalibration_batch_size": recalibration_batch_size}
    changes = {name: min(value, getattr(settings, name)) for name, value in most.items()}
    return settings.model_copy(update=changes | {"images": images, "storage": None})


def representative_baselines(baselines: tuple[str, ...]) -> dict[str, int]:
    """The baselines to run, and how many baselines each represents: all random architectures cost about the same."""
    drawn = [name for name in baselines if name in RANDOM]
    return dict(Counter(drawn[0] if name in drawn else name for name in baselines))


def with_images(recipe: Recipe, data: Path | None, folder: Path) -> tuple[Recipe, Path | None, str]:
    """The recipe for the images of the dry run, their folder (None: the run draws them), and their description.

    They are those in `data` if given, or those of the embedded data set, or synthetic ones, written to `folder`.
    """
    if data is not None:
        return recipe, data, f"the images in {data}"
    if recipe.data.shapes is not None:
        fewer = {name: min(count, getattr(recipe.data.shapes, name)) for name, count in SHAPES.items()}
        changed = recipe.data.model_copy(update={"shapes": recipe.data.shapes.model_copy(update=fewer)})
        return recipe.model_copy(update={"data": changed}), None, "some images of the embedded data set"
    has_class_folder = recipe.pretraining.source == "folder"
    write_synthetic_data(folder, classification=has_class_folder)
    # Not cached: real data sets of recipes without a data set of their own seldom fit into memory.
    changes: dict[str, Any] = {"data": DataSettings(search_fraction=1 / 3, cache_mb=0)}
    if has_class_folder:
        changes["pretraining"] = recipe.pretraining.model_copy(update={"folder": CLASSIFICATION})
    return recipe.model_copy(update=changes), folder, "synthetic images"
