"""Training an architecture other than the winner as the winner is trained: another one of the front, say."""

from pathlib import Path

from detnas.distributed import comm
from detnas.run.networks import train_standalone
from detnas.run.opening import load_run, open_run
from detnas.run.page import write_page
from detnas.rundir.layout import FINETUNE, WEIGHTS
from detnas.spaces import Architecture
from detnas.utils.progress import Progress


def retrain(directory: Path, text: str, progress: Progress, data: Path | None = None) -> None:
    """Train the architecture `text` by the schedule of the winner of the run in `directory`, and evaluate it.

    Continues where it stopped. The network appears in the run beside the baselines, named by its digits, with a
    detector.safetensors of its own; the page is written again. `data` is where the run's data set is now, if that was
    moved.

    Raises `UserError` if `directory` holds no run, or `text` is not an architecture of its space.
    """
    recipe = load_run(directory)
    architecture = Architecture.parse(text)
    recipe.search_space().check(architecture)
    with open_run(recipe, directory, data, progress) as run:
        train_standalone(run, architecture)
        if comm.is_main_process():
            progress.log(f"Weights: {directory / FINETUNE / architecture.hyphenated / WEIGHTS}")
            progress.log(f"Report: {write_page(directory, progress.log, run.data)}")
