"""The stages of DetNAS in order, over a run directory. Read this first.

supernet-pretrain   the supernet learns classification, one random path a step
supernet-finetune   the supernet learns detection, one random path a step
search              candidates are scored by the supernet's weights, each with BN statistics of its own; by default
                    evolution proposes them, and a candidate's fitness is its mAP on the search split
finals              the best candidates, and the networks that one would take without a search, are trained standalone
                    and compared on the search split; skipped without `finals` in the recipe, as in the paper
pretrain            the winner and the baselines learn classification, each from scratch
finetune            the same networks learn detection and are evaluated on the validation set
report              the page

The pretrain stages are skipped if `pretraining.source` is none or weights: with `pretraining.weights`, the supernet
begins supernet-finetune with learned weights. supernet-finetune is skipped if candidates are scored by classification
(the paper's ClsNAS).

A stage whose `done.json` exists is not run again, and a training continues from its last checkpoint: the same command
finishes a run that was interrupted. With several processes (see `detnas.distributed.comm`) the main process alone reads
and writes the run directory and broadcasts what the others need.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import groupby
from pathlib import Path

from detnas.config import Recipe
from detnas.config.beginnings import inherits
from detnas.distributed import comm
from detnas.run.context import Run
from detnas.run.finals import finals_stage
from detnas.run.local_workers import local_workers
from detnas.run.names import network_names
from detnas.run.networks import finetune_networks, pretrain_networks
from detnas.run.opening import load_run, open_run, read_recipe
from detnas.run.page import write_page
from detnas.run.search_stage import is_evaluated, search_stage
from detnas.rundir.layout import FINALS, FINETUNE, PRETRAIN, SEARCH, SUPERNET_FINETUNE, SUPERNET_PRETRAIN
from detnas.utils.errors import UserError, suggestion
from detnas.utils.progress import Progress


def run(
    recipe: str | Path | Recipe,
    out: str | Path | None = None,
    data: str | Path | None = None,
    changes: Sequence[str] = (),
    progress: Progress | None = None,
    stages: Sequence[str] | None = None,
) -> Path:
    """Run a recipe in the directory `out`, or continue the run that it holds; return that directory.

    `recipe` is a name, a file or a `Recipe`. `data` is the folder of the detection data set; recipes with a
    `data.shapes` section draw one if it is not given. `changes` to a recipe by name or file are as on the command line
    (`search.population=20`). `stages` limits the run to some of "supernet-pretrain", "supernet-finetune", "search",
    "finals", "pretrain", "finetune" and "report". Nothing is printed without `progress`.

    The run directory, `runs/NAME` unless `out` is given, ends up with detector.safetensors and report.html.

    Raises `UserError`, before any training, for whatever cannot work.
    """
    progress = progress or Progress(quiet=True)
    if not isinstance(recipe, Recipe):
        recipe = read_recipe(recipe, changes)
    elif changes:
        raise UserError(f"changes {list(changes)}: are made to a recipe by name or file; change the Recipe itself")
    for name in stages or ():
        if name not in STAGES:
            raise UserError(f"stages: {name!r} is unknown; {suggestion(name, STAGES)}")
    directory = run_directory(recipe, out)
    wanted = [name for name in STAGES if stages is None or name in stages]
    with open_run(recipe, directory, Path(data) if data is not None else None, progress) as current:
        for is_shared, names in groupby(wanted, SHARED.__contains__):
            with local_workers(current) if is_shared else nullcontext():
                for name in names:
                    _run_stage(current, name)
    return directory


def run_directory(recipe: Recipe, out: str | Path | None = None) -> Path:
    """The directory of a run: `out`, or by default `runs/NAME`."""
    return Path(out) if out is not None else Path("runs") / recipe.name


def search_run(directory: Path, progress: Progress, join: bool = False, data: Path | None = None) -> None:
    """Run the search stage alone, of the run in `directory`; with `join`, beside other processes that work there.

    `data` is where its data set is now, if that was moved. Raises `UserError` if the directory holds no run, or its
    supernet is not trained.
    """
    recipe = load_run(directory)
    with open_run(recipe, directory, data, progress, hold="not at all" if join else "alone") as current:
        _run_stage(current, SEARCH)


def join_run(directory: Path, progress: Progress, data: Path | None = None) -> None:
    """Work beside others on the run in `directory`, whose supernet is trained, until its networks are.

    `data` is as in `search_run`. Raises `UserError` if the directory holds no run, or its supernet is not trained.
    """
    recipe = load_run(directory)
    with open_run(recipe, directory, data, progress, hold="not at all") as current:
        for name in SHARED:
            _run_stage(current, name)


def _run_stage(run: Run, stage: str) -> None:
    run.progress.log(f"[{list(STAGES).index(stage) + 1}/{len(STAGES)}] {stage}")
    STAGES[stage](run)


def supernet_pretrain(run: Run) -> None:
    """Train the supernet on classification, without the images of the search split."""
    if not run.recipe.pretrains_supernet or run.is_trained(SUPERNET_PRETRAIN, lambda: _needs_pretraining(run)):
        return
    settings = run.recipe.supernet_pretrain
    task, num_classes = run.classification(settings, "fit")
    run.train(run.classifier(run.supernet, num_classes), task, settings, SUPERNET_PRETRAIN)


def _needs_pretraining(run: Run) -> bool:
    if run.trained_supernet == SUPERNET_PRETRAIN:
        return not is_evaluated(run)
    is_fine_tuned = run.is_trained(SUPERNET_FINETUNE, lambda: _needs_finetuning(run))
    return not is_fine_tuned and run.begins(SUPERNET_FINETUNE)


def supernet_finetune(run: Run) -> None:
    """Train the supernet on detection, without the images of the search split."""
    is_part = run.trained_supernet == SUPERNET_FINETUNE
    if not is_part or run.is_trained(SUPERNET_FINETUNE, lambda: _needs_finetuning(run)):
        return
    settings = run.recipe.supernet_finetune
    detector = run.detector(run.supernet)
    if run.begins(SUPERNET_FINETUNE):
        run.begin_supernet(detector)
    largest = run.recipe.detector.at(max(run.space.resolutions, default=None))
    run.train(detector, run.detection(settings, run.data.fit, largest), settings, SUPERNET_FINETUNE)


def _needs_finetuning(run: Run) -> bool:
    names = comm.broadcast_from_main(lambda: network_names(run.directory, run.recipe))
    stages = (f"{FINETUNE}/{name}" for name in names if inherits(run.recipe, name))
    return not is_evaluated(run) or any(run.begins(stage) and not run.is_done(stage) for stage in stages)


def pretrain(run: Run) -> None:
    """Train the winner, the best incumbent and the baselines on classification, each from scratch."""
    pretrain_networks(run, run.networks())


def finetune(run: Run) -> None:
    """Train the winner, the best incumbent and the baselines on detection, on all training images; evaluate them."""
    finetune_networks(run, run.networks())


def report(run: Run) -> None:
    """Write the page."""
    if comm.is_main_process():
        run.progress.log(f"Report: {write_page(run.directory, run.progress.log, run.data)}")


SHARED = (SEARCH, FINALS, PRETRAIN, FINETUNE)
"""The stages that workers share."""
STAGES: dict[str, Callable[[Run], None]] = {
    SUPERNET_PRETRAIN: supernet_pretrain,
    SUPERNET_FINETUNE: supernet_finetune,
    SEARCH: search_stage,
    FINALS: finals_stage,
    PRETRAIN: pretrain,
    FINETUNE: finetune,
    "report": report,
}
