"""Writing the page of a run."""

from collections.abc import Callable
from pathlib import Path

from detnas.data.run_data import reopen_run_data
from detnas.data.splits import RunData
from detnas.report import validation_examples, write_report
from detnas.rundir.directory import read_stored_run
from detnas.rundir.layout import DETECTIONS, FINETUNE, WINNER
from detnas.rundir.record_files import damaged


def write_page(
    directory: Path, log: Callable[[str], object], opened: RunData | None = None, data: Path | None = None
) -> Path:
    """Write the page of the run in `directory`, as far as the run has come, and return its path.

    It shows the winner's detections on validation images once the winner is evaluated: those of the run's data set,
    which is `opened`, or in the folder `data`, or else where it was. `log` is told of damaged rows of logs, which the
    page leaves out. Raises `UserError` if `directory` holds no run, a file of it is damaged, or its data set is needed
    and not found.
    """
    read_stored_run(directory)
    folder = directory / FINETUNE / WINNER
    detections = DETECTIONS.find(folder)
    if detections is None:
        return write_report(directory, log=log)
    val = (opened or reopen_run_data(directory, data)).val
    try:
        examples = validation_examples(val, detections)
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise damaged(DETECTIONS.path(folder), ValueError(f"not detections on this data set: {error}")) from None
    return write_report(directory, examples, log)
