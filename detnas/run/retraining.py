"""An architecture other than the winner, trained as the winner is: another one of the front, say."""

from functools import partial
from pathlib import Path

from detnas.distributed import comm
from detnas.models.backbone import Subnet
from detnas.run.context import load_run, open_run
from detnas.run.pipeline import WEIGHTS, finetune_networks, pretrain_networks, write_page
from detnas.spaces import Architecture
from detnas.utils.progress import Progress


def retrain(directory: Path, text: str, progress: Progress) -> None:
    """Train the architecture `text` alone, by the schedule of the run in `directory`, and judge it; continues.

    It stands in the run beside the baselines, under its digits, with a detector.safetensors of its own; the page is
    written again. Raises `UserError` if `directory` holds no run, or `text` is no architecture of its space.
    """
    recipe, data = load_run(directory)
    architecture = Architecture.parse(text)
    recipe.search_space().check(architecture)
    name = architecture.hyphenated
    with open_run(recipe, directory, data, progress) as run:
        networks = {name: partial(Subnet, run.space, architecture)}
        pretrain_networks(run, networks)
        finetune_networks(run, networks)
        if comm.is_main_process():
            progress.log(f"Weights: {directory / 'finetune' / name / WEIGHTS}")
            progress.log(f"Report: {write_page(directory)}")
