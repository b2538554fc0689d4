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

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from detnas import processes
from detnas.baselines import baselines, network_cost
from detnas.config import Recipe, SupernetTrainingSettings, TrainingSettings, load_recipe
from detnas.data.classification import ClassificationSet, Part
from detnas.data.detection import DetectionSet
from detnas.data.disk_cache import DiskCache
from detnas.data.images import Images
from detnas.data.samples import DetectionSamples
from detnas.data.sources import RunData, open_data
from detnas.device import choose_device
from detnas.errors import UserError
from detnas.files import read_json, write_json
from detnas.models.backbone import Backbone, Subnet, Supernet, find_backbone, shrink_depthwise
from detnas.models.classifier import Classifier
from detnas.models.create import Network, find_network
from detnas.models.detectors import Detector, build_detector
from detnas.models.weights import DetectorInfo, save_detector
from detnas.progress import Progress
from detnas.report import validation_examples, write_report
from detnas.run_directory import RECIPE, claim, draw_data, store_latencies, store_recipe, store_splits, stored_run
from detnas.searching.accuracy import Accuracy
from detnas.searching.evaluation import evaluate, headline
from detnas.searching.fitness import Fitness, search_pictures
from detnas.searching.study import search
from detnas.searching.together import search_together
from detnas.seeds import seed_of
from detnas.shortage import memory_for, room_in
from detnas.spaces import Architecture, BudgetSampler, SearchSpace
from detnas.training.checkpoints import DONE, is_trained, load_weights
from detnas.training.loop import one_pass, train
from detnas.training.metrics_log import log_scores
from detnas.training.paths import PathSampler, path_chooser
from detnas.training.tasks import ClassificationTask, DetectionTask, Task
from detnas.training.together import check_batches

WINNER = "winner"
WEIGHTS = "detector.safetensors"
EVALUATION = "evaluation.json"
DETECTIONS = "detections.json"
PICTURES = "pictures"
"""Where decoded ones are kept."""


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
    given. `changes` are as on the command line (`search.population=20`). `stages` limits the run to some stages.
    Returns the run directory (`runs/NAME` unless given), which holds detector.safetensors and report.html.

    Raises `UserError`, before any training, for whatever cannot work.
    """
    progress = progress or Progress(quiet=True)
    if not isinstance(recipe, Recipe):
        source = recipe
        tree = processes.from_first(lambda: load_recipe(source, changes).model_dump(mode="json"))
        recipe = Recipe.model_validate(tree)
    directory = Path(out) if out is not None else Path("runs") / recipe.name
    with open_run(recipe, directory, Path(data) if data is not None else None, progress) as current:
        for place, (name, stage) in enumerate(STAGES.items(), start=1):
            if stages is None or name in stages:
                progress.say(f"[{place}/{len(STAGES)}] {name}")
                stage(current)
    return directory


@contextmanager
def open_run(
    recipe: Recipe, directory: Path, data: Path | None, progress: Progress, shared: bool = False
) -> "Iterator[Run]":
    """Hold `directory` for a run of `recipe`, all that can be checked before training checked, until the block ends.

    `shared`: beside other processes that share it.
    Raises `UserError` for whatever cannot work.
    """
    with processes.agreed():
        sampler = BudgetSampler(recipe.search_space(), recipe.cost_budget())
        device = choose_device(recipe.device)
        check_batches(recipe)
    processes.check_same("device", device.type)
    with room_in(directory), ExitStack() as held:
        processes.from_first(lambda: held.enter_context(claim(directory, recipe, shared)))
        if data is None:
            data = Path(processes.from_first(lambda: draw_data(directory, recipe, progress.say)))
        with processes.agreed():
            run_data = open_data(data, recipe.data, recipe.seed)
            progress.say(run_data.summary())
            current = Run(recipe, directory, run_data, sampler, device, progress)
            current.check()
        processes.check_same(f"data set {data}", run_data.fingerprint())
        processes.from_first(lambda: store_recipe(directory, recipe, run_data.directory, run_data.fingerprint()))
        processes.from_first(lambda: store_latencies(directory, sampler.budget.latencies))
        processes.from_first(lambda: store_splits(directory, run_data))
        yield current


def continue_run(directory: Path, progress: Progress, stages: Sequence[str]) -> None:
    """Run some stages of the run that stands in `directory`.

    Raises `UserError` if it holds no run, or a stage lacks what an earlier one leaves.
    """
    stored = processes.from_first(lambda: stored_run(directory))
    run(directory / RECIPE, directory, stored["data_directory"], progress=progress, stages=stages)


def write_page(directory: Path) -> Path:
    """Write the page of a run, as far as the run has come. Raises `UserError` if `directory` holds no run."""
    stored = stored_run(directory)
    detections = directory / "finetune" / WINNER / DETECTIONS
    if not detections.exists():
        return write_report(directory)
    recipe = load_recipe(directory / RECIPE)
    val = open_data(Path(stored["data_directory"]), recipe.data, recipe.seed).val
    return write_report(directory, validation_examples(val, read_json(detections)))


@dataclass(frozen=True)
class Run:
    """A run under way: what its stages share."""

    recipe: Recipe
    directory: Path
    data: RunData
    sampler: BudgetSampler
    device: torch.device
    progress: Progress

    @property
    def pretrains(self) -> bool:
        return self.recipe.pretraining.source != "none"

    @property
    def trained_supernet(self) -> str:
        """The stage that leaves the supernet of which candidates are judged."""
        return "supernet-pretrain" if self.recipe.search.fitness == "classification" else "supernet-finetune"

    @property
    def space(self) -> SearchSpace:
        return self.sampler.space

    @property
    def disk_cache(self) -> DiskCache | None:
        megabytes = self.recipe.data.disk_cache_mb
        return DiskCache(self.directory / PICTURES, megabytes) if megabytes else None

    def seed(self, *what: str) -> int:
        return seed_of(self.recipe.seed, *what)

    def check(self) -> None:
        """Raise `UserError` for what would otherwise fail only once training has begun."""
        if self.pretrains:
            ClassificationSet(self.recipe, self.data)
        if self.recipe.search.fitness == "detection":
            search_pictures(self.data.search, self.recipe.search, self.seed("search"))
        for stage in ("supernet-pretrain", "supernet-finetune"):
            self.paths(stage)
        for part in (self.data.train, self.data.val):
            self._check_sizes(part)

    def _check_sizes(self, part: DetectionSet) -> None:
        """Refuse pictures so long that nothing is left of the shorter side where the longer is reduced to max_size."""
        longest = self.recipe.detector.max_size
        too_long = np.flatnonzero(part.sizes.min(axis=1) * longest < part.sizes.max(axis=1))
        if len(too_long):
            first = int(too_long[0])
            width, height = part.sizes[first].tolist()
            raise UserError(
                f"{part.files[first]}: nothing is left of the shorter side of its {width}x{height} pixels where the "
                f"longer is reduced to detector.max_size = {longest}; cut it into pieces, or raise max_size"
            )

    def networks(self) -> dict[str, Callable[[], Network]]:
        """What makes the networks that are trained alone, by name: the winner and the recipe's baselines."""
        return {WINNER: partial(Subnet, self.space, self.winner()), **baselines(self.recipe, self.sampler)}

    def winner(self) -> Architecture:
        return Architecture.parse(_read(self.directory / "search" / "best.json")["architecture"])

    def classifier(self, make_backbone: Callable[[], Backbone], num_classes: int) -> Classifier:
        torch.manual_seed(self.seed("classifier"))
        return Classifier(self._fresh(make_backbone), num_classes, self.recipe.pretraining.head_channels)

    def detector(self, make_backbone: Callable[[], Backbone], pretrained: Path | None) -> Detector:
        """A new detector, its backbone taken from the classifier trained in `pretrained` if that is given."""
        torch.manual_seed(self.seed("detector"))
        backbone = self._fresh(make_backbone)
        detector = build_detector(backbone, len(self.data.train.categories), self.recipe.detector)
        if pretrained is not None:
            load_weights(backbone, pretrained, part="backbone")
        return detector

    def _fresh(self, make_backbone: Callable[[], Backbone]) -> Backbone:
        backbone = make_backbone()
        if self.recipe.depthwise_init == "fan_in":
            shrink_depthwise(backbone)
        return backbone

    def classification(self, settings: TrainingSettings | None, part: Part) -> tuple[ClassificationTask, int]:
        """What pre-training learns, and how many classes that has; without `settings`, pictures as they are judged."""
        data = ClassificationSet(self.recipe, self.data)
        # What is judged is kept as it was prepared, and need not be kept before.
        samples = data.samples(part, settings, self.recipe.data.cache_mb if settings else 0, self.disk_cache)
        smoothing = settings.label_smoothing if settings else 0.0
        return ClassificationTask(samples, smoothing, self.recipe.detector), data.num_classes

    def detection(self, settings: TrainingSettings, data: DetectionSet) -> DetectionTask:
        recipe = self.recipe
        samples = DetectionSamples(
            data,
            settings,
            recipe.data.cache_mb,
            detector=recipe.detector,
            disk=self.disk_cache,
            group_by_aspect=recipe.data.group_by_aspect,
        )
        return DetectionTask(samples)

    def train(self, model: nn.Module, task: Task, settings: TrainingSettings, stage: str) -> None:
        """Train `model` in the stage's directory."""
        stage_name = stage.split("/")[0]
        field = stage_name.replace("-", "_")
        smaller = "detector.min_size and max_size" if isinstance(task, DetectionTask) else "pretraining.image_size"
        others = f"and lr with it, or set {field}.precision=bf16, or lower {smaller}"
        with memory_for(f"{field}.batch = {settings.batch}", others):
            train(
                model,
                task,
                settings,
                self.directory / stage,
                # The winner and its baselines see the same pictures in the same order.
                seed=self.seed(stage_name),
                device=self.device,
                progress=self.progress,
                passes=self._passes(find_backbone(model), stage),
            )

    def paths(self, stage: str) -> PathSampler:
        """What a supernet's paths are drawn by in one of its trainings."""
        field = stage.replace("-", "_")
        settings: SupernetTrainingSettings = getattr(self.recipe, field)
        bins, size = settings.flops_bins, self.recipe.budget.size
        return PathSampler(self.space, bins, settings.fair_paths, size, f"{field}.flops_bins")

    def _passes(self, backbone: Backbone, stage: str) -> Callable[[int], Iterable[None]]:
        if not isinstance(backbone, Supernet):
            return one_pass
        first_training = "supernet-pretrain" if self.recipe.pretrains_supernet else "supernet-finetune"
        warm_start = self.recipe.warm_start if stage == first_training else 0
        return path_chooser(backbone, self.paths(stage), lambda step: self.seed(stage, "path", str(step)), warm_start)


def supernet_pretrain(run: Run) -> None:
    """The supernet learns classification, without the search split."""
    stage = "supernet-pretrain"
    next_stage = "search" if run.trained_supernet == stage else "supernet-finetune"
    if run.recipe.pretrains_supernet and not _is_trained(run, stage, needed_by=next_stage):
        settings = run.recipe.supernet_pretrain
        task, num_classes = run.classification(settings, "fit")
        run.train(run.classifier(lambda: Supernet(run.space), num_classes), task, settings, stage)


def supernet_finetune(run: Run) -> None:
    """The supernet learns detection, without the search split."""
    stage = "supernet-finetune"
    if run.trained_supernet == stage and not _is_trained(run, stage, needed_by="search"):
        settings = run.recipe.supernet_finetune
        pretrained = run.directory / "supernet-pretrain" if run.recipe.pretrains_supernet else None
        detector = run.detector(lambda: Supernet(run.space), pretrained)
        run.train(detector, run.detection(settings, run.data.fit), settings, stage)


def search_stage(run: Run) -> None:
    """Evolution on the trained supernet."""
    stage = "search"
    settings = run.recipe.search
    if not _is_done(run, stage):
        judge = candidate_judge(run)
        place, seed = run.directory / stage, run.seed(stage)
        with memory_for(
            f"search.batch = {settings.batch}, search.recalibration_batch = {settings.recalibration_batch}"
        ):
            search_together(
                judge, lambda judge: search(judge, run.sampler, settings, place, seed=seed, progress=run.progress)
            )
    best = _read(run.directory / stage / "best.json")
    run.progress.say(f"  winner: {best['architecture']}, {settings.score} {best['fitness']:.3f} on the search split")


def candidate_judge(run: Run) -> Callable[[Architecture], Mapping[str, float | None]]:
    """Gives a candidate's scores by name, with the weights of the trained supernet.

    Raises `UserError` if the supernet is not trained yet.
    """
    if not _is_done(run, run.trained_supernet):
        raise UserError(f"{run.directory}: the supernet is not trained yet; continue it by `detnas run`")
    return _accuracy(run) if run.recipe.search.fitness == "classification" else _detection_scores(run)


def _detection_scores(run: Run) -> Callable[[Architecture], dict[str, float | None]]:
    """Judges candidates by detection, of the fine-tuned supernet."""
    detector = run.detector(lambda: Supernet(run.space), None)
    load_weights(detector, run.directory / run.trained_supernet)
    fitness = Fitness(
        detector.to(run.device),
        run.data.fit,
        run.data.search,
        run.recipe.search,
        seed=run.seed("search"),
        device=run.device,
        cache_mb=run.recipe.data.cache_mb,
        disk=run.disk_cache,
    )
    return lambda architecture: fitness(architecture).scores


def _accuracy(run: Run) -> Accuracy:
    """Judges candidates by classification, of the pre-trained supernet."""
    fit, num_classes = run.classification(None, "fit")
    judged, _ = run.classification(None, "search")
    classifier = run.classifier(lambda: Supernet(run.space), num_classes)
    load_weights(classifier, run.directory / run.trained_supernet)
    return Accuracy(
        classifier.to(run.device),
        fit.samples,
        judged.samples,
        partial(fit.inputs, device=run.device),
        run.recipe.search,
        seed=run.seed("search"),
        cache_mb=run.recipe.data.cache_mb,
    )


def pretrain(run: Run) -> None:
    """The winner and the baselines learn classification, each from scratch."""
    pretrain_networks(run, run.networks())


def pretrain_networks(run: Run, networks: Mapping[str, Callable[[], Network]]) -> None:
    for name, make_backbone in networks.items():
        stage = f"pretrain/{name}"
        if run.pretrains and not _is_trained(run, stage, needed_by=f"finetune/{name}"):
            settings = run.recipe.pretrain
            task, num_classes = run.classification(settings, "train")
            run.train(run.classifier(make_backbone, num_classes), task, settings, stage)


def finetune(run: Run) -> None:
    """The winner and the baselines learn detection from all training pictures, and are judged on the validation set."""
    finetune_networks(run, run.networks())


def finetune_networks(run: Run, networks: Mapping[str, Callable[[], Network]]) -> None:
    for name, make_backbone in networks.items():
        stage = f"finetune/{name}"
        directory = run.directory / stage
        if not processes.from_first((directory / EVALUATION).exists):
            settings = run.recipe.finetune
            pretrained = run.directory / "pretrain" / name if run.pretrains else None
            detector = run.detector(make_backbone, pretrained)
            run.train(detector, run.detection(settings, run.data.train), settings, stage)
            if name == WINNER:
                categories = tuple((category.id, category.name) for category in run.data.train.categories)
                recipe = run.recipe
                info = DetectorInfo(
                    run.space, run.winner(), recipe.detector, categories, data=recipe.data, seed=recipe.seed
                )
                if processes.is_first():
                    save_detector(run.directory / WEIGHTS, detector, info)
            _judge(run, name, detector)
        scores = _read(directory / EVALUATION)["scores"]
        run.progress.say(f"  {name}: {headline(scores, run.recipe.search.metric)} on the validation set")


def _judge(run: Run, name: str, detector: Detector) -> None:
    """Evaluate a finished network on the validation set, and keep what it scored and detected."""
    val = run.data.val
    own = val.subset(processes.share(len(val), run.recipe.search.batch))
    images = Images(own.files, run.recipe.data.cache_mb, own.sizes, disk=run.disk_cache)
    with (
        memory_for(f"search.batch = {run.recipe.search.batch}"),
        run.progress.task(f"evaluate {name}", total=len(own)) as bar,
    ):
        evaluation = evaluate(
            detector,
            val,
            images,
            batch=run.recipe.search.batch,
            device=run.device,
            after_batch=lambda pictures: bar.advance(by=pictures),
        )
    if not processes.is_first():
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
    if processes.is_first():
        run.progress.say(f"Report: {write_page(run.directory)}")


STAGES: dict[str, Callable[[Run], None]] = {
    "supernet-pretrain": supernet_pretrain,
    "supernet-finetune": supernet_finetune,
    "search": search_stage,
    "pretrain": pretrain,
    "finetune": finetune,
    "report": report,
}


def _is_done(run: Run, stage: str) -> bool:
    return processes.from_first((run.directory / stage / DONE).exists)


def _read(path: Path) -> Any:
    """What a JSON file of the run holds."""
    return processes.from_first(lambda: read_json(path))


def _is_trained(run: Run, stage: str, needed_by: str) -> bool:
    """Whether a training is done and, unless the stage that needs its weights is done too, its weights are whole.

    If they are damaged the training goes on from the checkpoint before, and ends in the same weights.
    """
    return _is_done(run, stage) and (_is_done(run, needed_by) or is_trained(run.directory / stage))
