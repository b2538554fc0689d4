"""Writing the page of a run."""

from collections.abc import Callable
from pathlib import Path

from detnas.config import load_recipe
from detnas.data.detection import DetectionSet
from detnas.data.splits import open_data
from detnas.report import validation_examples, write_report
from detnas.rundir.directory import read_stored_run
from detnas.rundir.layout import DETECTIONS, FINETUNE, RECIPE, WINNER


def write_page(directory: Path, open_val: Callable[[], DetectionSet] | None = None) -> Path:
    """Write the page of the run in `directory`, as far as the run has come, and return its path.

    It shows the winner's detections on validation images once the winner is evaluated; `open_val` opens these images,
    by default from the run's data set. Raises `UserError` if `directory` holds no run.
    """
    data = Path(read_stored_run(directory).data_directory)
    detections = DETECTIONS.find(directory / FINETUNE / WINNER)
    if detections is None:
        return write_report(directory)
    if open_val is None:
        recipe = load_recipe(directory / RECIPE)
        val = open_data(data, recipe.data, recipe.seed).val
    else:
        val = open_val()
    return write_report(directory, validation_examples(val, detections))
