"""A run under way: its directory held, its data open, and what its stages share."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from detnas.config import DetectorSettings, Recipe, SupernetTrainingSettings, TrainingSettings, load_recipe
from detnas.data.classification import ClassificationSet, Part
from detnas.data.detection import DetectionSet
from detnas.data.disk_cache import DiskCache
from detnas.data.samples import DetectionSamples
from detnas.data.splits import RunData, open_data
from detnas.distributed import comm
from detnas.distributed.device import choose_device
from detnas.models.backbone import Backbone, Subnet, Supernet, find_backbone, shrink_depthwise
from detnas.models.classifier import Classifier
from detnas.models.create import Network
from detnas.models.detectors.build import Detector, build_detector
from detnas.run.baselines import baselines
from detnas.rundir.directory import (
    RECIPE,
    claim,
    draw_data,
    read_stored_run,
    store_latencies,
    store_recipe,
    store_splits,
)
from detnas.search.evaluators.custom import import_fitness_function
from detnas.search.evaluators.detection import evaluation_images
from detnas.search.study.storage import check_storage
from detnas.spaces import Architecture, BudgetSampler, SearchSpace
from detnas.training.checkpoints import DONE, is_trained, load_weights
from detnas.training.data_parallel import check_batches
from detnas.training.loop import one_pass, train
from detnas.training.paths import PathSampler, path_chooser
from detnas.training.tasks import ClassificationTask, DetectionTask, Task
from detnas.utils.errors import UserError
from detnas.utils.files import read_json
from detnas.utils.progress import Progress
from detnas.utils.resource_errors import explain_disk_full, explain_out_of_memory
from detnas.utils.seeds import derive_seed

WINNER = "winner"
"""What the network that the search chose is called, beside its baselines."""
IMAGES = "images"
"""Where decoded ones are kept."""


def read_recipe(recipe: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """`load_recipe`, of several processes in the first one alone: a file need be there for it only."""
    tree = comm.broadcast_from_main(lambda: load_recipe(recipe, changes).model_dump(mode="json"))
    return Recipe.model_validate(tree)


def load_run(directory: Path) -> tuple[Recipe, Path]:
    """The recipe and the data folder of the run that stands in `directory`. Raises `UserError` if it holds none."""
    stored = comm.broadcast_from_main(lambda: read_stored_run(directory))
    return read_recipe(directory / RECIPE), Path(stored["data_directory"])


@contextmanager
def open_run(
    recipe: Recipe,
    directory: Path,
    data: Path | None,
    progress: Progress,
    hold: Literal["alone", "shared", "not at all"] = "alone",
) -> "Iterator[Run]":
    """Hold `directory` for a run of `recipe`, all that can be checked before training checked, until the block ends.

    It is held `alone`, or beside other processes that hold it `shared`; who holds it `not at all` works beside whoever
    does.
    Raises `UserError` for whatever cannot work.
    """
    with comm.raise_on_all_ranks():
        sampler = BudgetSampler(recipe.search_space(), recipe.cost_budget())
        device = choose_device(recipe.device)
        check_batches(recipe)
    comm.check_same_on_all_ranks("device", device.type)
    with explain_disk_full(directory), ExitStack() as held:
        if hold != "not at all":
            comm.broadcast_from_main(lambda: held.enter_context(claim(directory, recipe, shared=hold == "shared")))
        if data is None:
            data = Path(comm.broadcast_from_main(lambda: draw_data(directory, recipe, progress.log)))
        with comm.raise_on_all_ranks():
            run_data = open_data(data, recipe.data, recipe.seed)
            progress.log(run_data.summary())
            current = Run(recipe, directory, run_data, sampler, device, progress)
            current.check()
        fingerprint = run_data.fingerprint()
        comm.check_same_on_all_ranks(f"data set {data}", fingerprint)
        comm.broadcast_from_main(lambda: store_recipe(directory, recipe, run_data.directory, fingerprint))
        comm.broadcast_from_main(lambda: store_latencies(directory, sampler.budget.latencies))
        comm.broadcast_from_main(lambda: store_splits(directory, run_data))
        yield current


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
        return "supernet-pretrain" if self.recipe.search.by_classification else "supernet-finetune"

    @property
    def space(self) -> SearchSpace:
        return self.sampler.space

    @property
    def disk_cache(self) -> DiskCache | None:
        megabytes = self.recipe.data.disk_cache_mb
        return DiskCache(self.directory / IMAGES, megabytes) if megabytes else None

    def seed(self, *what: str) -> int:
        return derive_seed(self.recipe.seed, *what)

    def check(self) -> None:
        """Raise `UserError` for what would otherwise fail only once training has begun."""
        if self.pretrains:
            ClassificationSet(self.recipe, self.data)
        if self.recipe.search.has_custom_fitness:
            import_fitness_function(self.recipe.search.fitness)
        if not self.recipe.search.by_classification:
            evaluation_images(self.data.search, self.recipe.search, self.seed("search"))
        for stage in ("supernet-pretrain", "supernet-finetune"):
            self.paths(stage)
        for part in (self.data.train, self.data.val):
            self._check_sizes(part)
        if comm.is_main_process() and self.recipe.search.storage and not (self.directory / "search" / DONE).exists():
            check_storage(self.recipe.search.storage)

    def _check_sizes(self, part: DetectionSet) -> None:
        """Refuse images so long that nothing is left of the shorter side where the longer is reduced to max_size."""
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
        """What makes the networks that are trained standalone, by name: the winner and the recipe's baselines."""
        return {WINNER: partial(Subnet, self.space, self.winner()), **baselines(self.recipe, self.sampler)}

    def winner(self) -> Architecture:
        return Architecture.parse(self.read("search/best.json")["architecture"])

    def classifier(self, make_backbone: Callable[[], Backbone], num_classes: int) -> Classifier:
        torch.manual_seed(self.seed("classifier"))
        return Classifier(self._fresh(make_backbone), num_classes, self.recipe.pretraining.head_channels)

    def detector(
        self, make_backbone: Callable[[], Backbone], pretrained: Path | None, settings: DetectorSettings | None = None
    ) -> Detector:
        """A new detector, its backbone taken from the classifier trained in `pretrained` if that is given.

        Without `settings` it is the recipe's.
        """
        torch.manual_seed(self.seed("detector"))
        backbone = self._fresh(make_backbone)
        detector = build_detector(backbone, len(self.data.train.categories), settings or self.recipe.detector)
        if pretrained is not None:
            load_weights(backbone, pretrained, part="backbone")
        return detector

    def _fresh(self, make_backbone: Callable[[], Backbone]) -> Backbone:
        backbone = make_backbone()
        if self.recipe.init == "fan_in":
            shrink_depthwise(backbone)
        return backbone

    def classification(self, settings: TrainingSettings | None, part: Part) -> tuple[ClassificationTask, int]:
        """What pre-training learns, and how many classes that has; without `settings`, images as they are judged."""
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
        with explain_out_of_memory(f"{field}.batch_size = {settings.batch_size}", others):
            train(
                model,
                task,
                settings,
                self.directory / stage,
                # The winner and its baselines see the same images in the same order.
                seed=self.seed(stage_name),
                device=self.device,
                progress=self.progress,
                passes=self._passes(find_backbone(model), stage),
            )

    def paths(self, stage: str) -> PathSampler:
        """What a supernet's paths are drawn by in one of its trainings."""
        field = stage.replace("-", "_")
        settings: SupernetTrainingSettings = getattr(self.recipe, field)
        bins, size = settings.macs_bins, self.recipe.budget.size
        return PathSampler(self.space, bins, settings.fair_paths, size, f"{field}.macs_bins")

    def _passes(self, backbone: Backbone, stage: str) -> Callable[[int], Iterable[None]]:
        if not isinstance(backbone, Supernet):
            return one_pass
        return path_chooser(backbone, self.paths(stage), lambda step: self.seed(stage, "path", str(step)))

    def is_done(self, stage: str) -> bool:
        return comm.broadcast_from_main((self.directory / stage / DONE).exists)

    def is_trained(self, stage: str, needed_by: str) -> bool:
        """Whether a training is done and, unless the stage that needs its weights is done too, its weights are whole.

        If they are damaged the training goes on from the checkpoint before, and ends in the same weights.
        """
        return self.is_done(stage) and (self.is_done(needed_by) or is_trained(self.directory / stage))

    def read(self, file: str) -> Any:
        """What a JSON file of the run holds."""
        return comm.broadcast_from_main(lambda: read_json(self.directory / file))
