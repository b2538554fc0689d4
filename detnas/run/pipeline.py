"""The stages of DetNAS in order, over a run directory. Read this first.

supernet-pretrain   every candidate backbone learns classification, one random path a step
supernet-finetune   the same inside the detector, on detection
search              evolution; a candidate's fitness is its mAP on the search split, BN statistics recalibrated
                    (where candidates are judged by classification, supernet-finetune is left out: the paper's ClsNAS)
pretrain, finetune  the winner and the baselines, each alone from scratch, by one and the same schedule
report              the page

A stage whose `done.json` stands is not run again, and a training continues from its checkpoint: the same command
finishes a run that was cut. Of several processes (see `processes.py`) the first one reads and writes the run directory,
and tells the others what stands there.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from detnas.config import Recipe, load_recipe
from detnas.data.detection import DetectionSet
from detnas.data.images import Images
from detnas.data.splits import open_data
from detnas.distributed import comm
from detnas.evaluation.evaluate import evaluate, headline
from detnas.models.backbone import Subnet, Supernet
from detnas.models.create import Network, find_network
from detnas.models.detectors.build import Detector
from detnas.models.weights import DetectorInfo, save_detector
from detnas.report import validation_examples, write_report
from detnas.run.baselines import network_cost
from detnas.run.context import WINNER, Run, load_run, open_run, read_recipe
from detnas.run.evaluator import build_evaluator
from detnas.rundir.directory import RECIPE, read_stored_run
from detnas.search.evaluators.base import Evaluator
from detnas.search.evaluators.detection import DetectionEvaluator
from detnas.search.evaluators.distributed import search_with_all_processes
from detnas.search.recalibration_check import RECALIBRATION, check_recalibration
from detnas.search.study.study import search
from detnas.training.checkpoints import is_trained, weights_digest
from detnas.training.metrics_log import log_scores
from detnas.utils.errors import UserError, suggestion
from detnas.utils.files import read_json, write_json
from detnas.utils.progress import Progress
from detnas.utils.resource_errors import explain_out_of_memory

WEIGHTS = "detector.safetensors"
EVALUATION = "evaluation.json"
DETECTIONS = "detections.json"


def run(
    recipe: str | Path | Recipe,
    out: str | Path | None = None,
    data: str | Path | None = None,
    changes: Sequence[str] = (),
    progress: Progress | None = None,
    stages: Sequence[str] | None = None,
) -> Path:
    """Run a recipe (a name, a file or a `Recipe`) in the directory `out`, or continue the run that stands there.

    `data` is the folder of the detection data set; recipes with a `data.shapes` section draw their own if it is not
    given. `changes` to a recipe by name or file are as on the command line (`search.population=20`). `stages` limits
    the run to some of "supernet-pretrain", "supernet-finetune", "search", "pretrain", "finetune" and "report". Without
    `progress` nothing is said.
    Returns the run directory (`runs/NAME` unless given), which holds detector.safetensors and report.html.

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
    directory = Path(out) if out is not None else Path("runs") / recipe.name
    with open_run(recipe, directory, Path(data) if data is not None else None, progress) as current:
        for name in STAGES:
            if stages is None or name in stages:
                _walk(current, name)
    return directory


def search_run(directory: Path, progress: Progress, join: bool = False) -> None:
    """The search alone, of the run that stands in `directory`; to `join` it, beside whoever works there.

    Raises `UserError` if it holds no run, or its supernet is not trained.
    """
    recipe, data = load_run(directory)
    with open_run(recipe, directory, data, progress, hold="not at all" if join else "alone") as current:
        _walk(current, "search")


def _walk(run: Run, stage: str) -> None:
    run.progress.log(f"[{list(STAGES).index(stage) + 1}/{len(STAGES)}] {stage}")
    STAGES[stage](run)


def write_page(directory: Path) -> Path:
    """Write the page of a run, as far as the run has come. Raises `UserError` if `directory` holds no run."""
    stored = read_stored_run(directory)

    def val() -> DetectionSet:
        recipe = load_recipe(directory / RECIPE)
        return open_data(Path(stored["data_directory"]), recipe.data, recipe.seed).val

    return _write_page(directory, val)


def _write_page(directory: Path, val: Callable[[], DetectionSet]) -> Path:
    """The page with the winner's detections on the validation set, if it has been judged."""
    detections = directory / "finetune" / WINNER / DETECTIONS
    if not detections.exists():
        return write_report(directory)
    return write_report(directory, validation_examples(val(), read_json(detections)))


def supernet_pretrain(run: Run) -> None:
    """The supernet learns classification, without the search split."""
    stage = "supernet-pretrain"
    next_stage = "search" if run.trained_supernet == stage else "supernet-finetune"
    if run.recipe.pretrains_supernet and not run.is_trained(stage, needed_by=next_stage):
        settings = run.recipe.supernet_pretrain
        task, num_classes = run.classification(settings, "fit")
        run.train(run.classifier(lambda: Supernet(run.space), num_classes), task, settings, stage)


def supernet_finetune(run: Run) -> None:
    """The supernet learns detection, without the search split."""
    stage = "supernet-finetune"
    if run.trained_supernet == stage and not run.is_trained(stage, needed_by="search"):
        settings = run.recipe.supernet_finetune
        pretrained = run.directory / "supernet-pretrain" if run.recipe.pretrains_supernet else None
        detector = run.detector(lambda: Supernet(run.space), pretrained)
        run.train(detector, run.detection(settings, run.data.fit), settings, stage)


def search_stage(run: Run) -> None:
    """Evolution on the trained supernet, and how far the best depend on the images of their recalibration."""
    stage = "search"
    settings = run.recipe.search
    place = run.directory / stage
    searched = run.is_done(stage)
    if not searched or _can_check(run):

        def search_with(evaluator: Evaluator) -> None:
            seed = run.seed(stage)
            search(evaluator, run.sampler, settings, place, seed=seed, progress=run.progress, name=_study_name(run))

        with explain_out_of_memory(
            f"search.batch_size = {settings.batch_size}, "
            f"search.recalibration_batch_size = {settings.recalibration_batch_size}"
        ):
            evaluator = build_evaluator(run)
            if not searched:
                search_with_all_processes(evaluator, search_with)
            if isinstance(evaluator, DetectionEvaluator):
                check_recalibration(evaluator, place, run.progress)
    best = run.read(f"{stage}/best.json")
    run.progress.log(
        f"  winner: {best['architecture']}, {settings.score_name} {best['fitness']:.3f} on the search split"
    )


def _can_check(run: Run) -> bool:
    """Whether a finished search was cut before its recalibration was checked, and what that takes is at hand."""
    missing = not comm.broadcast_from_main((run.directory / "search" / RECALIBRATION).exists)
    return missing and run.recipe.search.fitness == "detection" and is_trained(run.directory / run.trained_supernet)


def _study_name(run: Run) -> str:
    """The study's name in a storage that others use too: that of all copies of this run, and of no other run."""
    if run.recipe.search.storage is None:
        return "search"
    recipe = run.recipe.model_dump(mode="json")
    # These may differ from machine to machine.
    del recipe["device"], recipe["search"]["storage"], recipe["budget"]["latencies"]
    facts = [recipe, run.data.fingerprint(), weights_digest(run.directory / run.trained_supernet)]
    return f"{run.recipe.name}-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}"


def pretrain(run: Run) -> None:
    """The winner and the baselines learn classification, each from scratch."""
    pretrain_networks(run, run.networks())


def pretrain_networks(run: Run, networks: Mapping[str, Callable[[], Network]]) -> None:
    for name, make_backbone in networks.items():
        stage = f"pretrain/{name}"
        if run.pretrains and not run.is_trained(stage, needed_by=f"finetune/{name}"):
            settings = run.recipe.pretrain
            task, num_classes = run.classification(settings, "train")
            run.train(run.classifier(make_backbone, num_classes), task, settings, stage)


def finetune(run: Run) -> None:
    """The winner and the baselines learn detection from all training images, and are judged on the validation set."""
    finetune_networks(run, run.networks())


def finetune_networks(run: Run, networks: Mapping[str, Callable[[], Network]]) -> None:
    for name, make_backbone in networks.items():
        stage = f"finetune/{name}"
        directory = run.directory / stage
        if not comm.broadcast_from_main((directory / EVALUATION).exists):
            settings = run.recipe.finetune
            pretrained = run.directory / "pretrain" / name if run.pretrains else None
            detector = run.detector(make_backbone, pretrained)
            run.train(detector, run.detection(settings, run.data.train), settings, stage)
            if comm.is_main_process():
                _save(run, detector, run.directory if name == WINNER else directory)
            _judge(run, name, detector)
        scores = run.read(f"{stage}/{EVALUATION}")["scores"]
        run.progress.log(f"  {name}: {headline(scores, run.recipe.search.metric)} on the validation set")


def _save(run: Run, detector: Detector, directory: Path) -> None:
    """Write the weights file of a finished detector, unless its backbone is of another space than the run's."""
    network = find_network(detector)
    if isinstance(network, Subnet) and network.space == run.space:
        categories = tuple((category.id, category.name) for category in run.data.train.categories)
        recipe = run.recipe
        info = DetectorInfo(
            run.space, network.architecture, recipe.detector, categories, data=recipe.data, seed=recipe.seed
        )
        save_detector(directory / WEIGHTS, detector, info)


def _judge(run: Run, name: str, detector: Detector) -> None:
    """Evaluate a finished network on the validation set, and keep what it scored and detected."""
    val = run.data.val
    own = val.subset(comm.shard_indices(len(val), run.recipe.search.batch_size))
    images = Images(own.files, run.recipe.data.cache_mb, own.sizes, disk=run.disk_cache)
    with (
        explain_out_of_memory(f"search.batch_size = {run.recipe.search.batch_size}"),
        run.progress.task(f"evaluate {name}", total=len(own)) as bar,
    ):
        evaluation = evaluate(
            detector,
            val,
            images,
            batch_size=run.recipe.search.batch_size,
            device=run.device,
            after_batch=lambda count: bar.advance(by=count),
        )
    if not comm.is_main_process():
        return
    network = find_network(detector)
    directory = run.directory / "finetune" / name
    write_json(directory / DETECTIONS, evaluation.results)
    log_scores(directory, run.recipe.finetune.steps, evaluation.scores)
    write_json(
        directory / EVALUATION,
        {
            "network": name,
            "architecture": None if network.architecture is None else str(network.architecture),
            **network_cost(network, run.sampler).facts(),
            "images": len(val),
            "scores": evaluation.scores,
            "per_class": evaluation.per_class,
        },
    )


def report(run: Run) -> None:
    """The page."""
    if comm.is_main_process():
        run.progress.log(f"Report: {_write_page(run.directory, lambda: run.data.val)}")


STAGES: dict[str, Callable[[Run], None]] = {
    "supernet-pretrain": supernet_pretrain,
    "supernet-finetune": supernet_finetune,
    "search": search_stage,
    "pretrain": pretrain,
    "finetune": finetune,
    "report": report,
}
