"""What the stages of a run share: how they build models and tasks, train, and read the run directory."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from detnas.config import DetectorSettings, Recipe, SupernetTrainingSettings, TrainingSettings
from detnas.config.beginnings import inherits
from detnas.data.classification import ClassificationSet, Part
from detnas.data.detection import DetectionSet
from detnas.data.disk_cache import DiskCache
from detnas.data.samples import DetectionSamples
from detnas.data.splits import RunData
from detnas.distributed import comm
from detnas.models.backbone import Backbone, SpaceBackbone, Subnet, find_backbone, shrink_depthwise
from detnas.models.classifier import Classifier
from detnas.models.create import Network
from detnas.models.detectors.build import Detector, build_detector, set_resolution
from detnas.models.ops.shuffle import Shuffle
from detnas.models.supernet import Supernet, activate_path, extract_subnet
from detnas.models.weight_sources.spec import WeightSource
from detnas.run.baselines import baseline_builders
from detnas.run.costs import detector_settings
from detnas.run.weights import check_weights, open_weights, stored_shuffle
from detnas.rundir import layout
from detnas.rundir.record_files import RecordFile, damaged
from detnas.search.evaluators.inputs import Inputs
from detnas.search.evaluators.recalibration import recalibrate, recalibration_images
from detnas.spaces import Architecture, BudgetSampler, SearchSpace
from detnas.spaces.block import NO_CHOICE
from detnas.training.checkpoints import has_checkpoint, is_done, load_weights, training_state
from detnas.training.loop import one_pass, train
from detnas.training.paths import PathSampler, bin_samplers, interval_samplers, path_chooser
from detnas.training.tasks import ClassificationTask, DetectionTask, Task
from detnas.utils.errors import UserError
from detnas.utils.progress import Progress
from detnas.utils.resource_errors import explain_out_of_memory
from detnas.utils.seeds import derive_seed

T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """A run in progress: its recipe, its directory, its data, and the device that it trains on."""

    recipe: Recipe
    directory: Path
    data: RunData
    sampler: BudgetSampler
    device: torch.device
    progress: Progress
    origin: Path | None = None
    """The directory of the run whose supernet is used, where networks are trained in another one."""
    pretrained: Path | None = None
    """The folder with the networks' pre-trainings, where they are trained on detection in another one."""

    @cached_property
    def weights(self) -> WeightSource | None:
        """The learned weights with which the supernet begins, if the recipe names any; read when they are needed.

        Raises `UserError` if they cannot be read, do not fit, or are not those with which the run began.
        """
        where = self.recipe.pretraining.weights
        if where is None:
            return None
        with torch.device("cpu"):  # also while a network is built of which only the shapes are needed
            weights = open_weights(where, self.space.backbones)
        check_weights(self.supernet_directory, self.recipe, weights)
        return weights

    @property
    def supernet_directory(self) -> Path:
        """Where the trainings of the supernet are."""
        return self.origin or self.directory

    @cached_property
    def shuffle(self) -> Shuffle:
        """How the blocks of the supernet split channels."""
        stored = comm.broadcast_from_main(lambda: stored_shuffle(self.supernet_directory))
        return stored or (self.weights.shuffle if self.weights else "even_odd")

    @property
    def trained_supernet(self) -> str:
        """The stage whose supernet scores the candidates."""
        return layout.SUPERNET_PRETRAIN if self.recipe.search.is_classification else layout.SUPERNET_FINETUNE

    @property
    def space(self) -> SearchSpace:
        return self.sampler.space

    @property
    def disk_cache(self) -> DiskCache | None:
        megabytes = self.recipe.data.disk_cache_mb
        return DiskCache(self.supernet_directory / layout.IMAGES, megabytes) if megabytes else None

    def seed(self, *what: str) -> int:
        return derive_seed(self.recipe.seed, *what)

    def networks(self) -> dict[str, Callable[[], Network]]:
        """Functions that build the networks for standalone training, by name: the winner, the best incumbent where the
        finals found another winner, and the baselines."""
        own = {layout.WINNER: self.winner(), layout.INCUMBENT: self.incumbent()}
        builders = {name: partial(self.subnet, architecture) for name, architecture in own.items() if architecture}
        return {**builders, **baseline_builders(self.recipe, self.sampler, self.subnet)}

    def supernet(self) -> Supernet:
        """A new supernet."""
        return Supernet(self.space, self.shuffle)

    def subnet(self, architecture: Architecture) -> Subnet:
        """A new single network; one that begins with the supernet's weights, or with the same as it, splits channels as
        that does."""
        is_from_supernet = self.recipe.inherit or self.recipe.pretraining.source == "weights"
        return Subnet(self.space, architecture, self.shuffle if is_from_supernet else "even_odd")

    def winner(self) -> Architecture:
        """The architecture that is handed over: that of the finals, or without them that of the search."""
        if self.recipe.finals:
            return self._parsed(self._finals().winner, layout.FINALS_RESULT, layout.FINALS)
        return self._parsed(self.read(layout.BEST, layout.SEARCH).architecture, layout.BEST, layout.SEARCH)

    def incumbent(self) -> Architecture | None:
        """The best incumbent of the finals, if there is one and it is not the winner."""
        beaten = self._finals().beaten_incumbent if self.recipe.finals else None
        return self._parsed(beaten, layout.FINALS_RESULT, layout.FINALS) if beaten else None

    def _finals(self) -> layout.FinalsResult:
        return self.read(layout.FINALS_RESULT, layout.FINALS)

    def _parsed(self, text: str, file: RecordFile[Any], folder: str) -> Architecture:
        """An architecture of the space. Raises `UserError` if the text, which is from a file, is none."""
        try:
            architecture = Architecture.parse(text)
            self.space.check(architecture)
        except UserError as error:
            raise damaged(file.path(self.directory / folder), error) from None
        return architecture

    def classifier(self, make_backbone: Callable[[], Backbone], num_classes: int) -> Classifier:
        torch.manual_seed(self.seed("classifier"))
        return Classifier(self._fresh(make_backbone), num_classes, self.recipe.pretraining.head_channels)

    def detector(self, make_backbone: Callable[[], Backbone], settings: DetectorSettings | None = None) -> Detector:
        """A new detector with fresh weights, by default with the recipe's settings at the resolution of its network."""
        torch.manual_seed(self.seed("detector"))
        backbone = self._fresh(make_backbone)
        settings = settings or detector_settings(backbone, self.recipe)
        choices = self.space.head if isinstance(backbone, Supernet) else NO_CHOICE
        return build_detector(backbone, len(self.data.train.categories), settings, choices)

    def begin_supernet(self, detector: Detector) -> None:
        """Give a new detector around the supernet the weights with which its training on detection begins."""
        if self.recipe.pretrains_supernet:
            load_weights(find_backbone(detector), self.directory / layout.SUPERNET_PRETRAIN, part="backbone")
        else:
            self._fill(detector)

    def begin_network(self, name: str, detector: Detector) -> None:
        """Give a new detector around the single network `name` the weights with which its training begins.

        Learned weights were learned by other networks, so that their BN statistics are recalibrated, as a candidate's.
        """
        network = find_backbone(detector)
        if inherits(self.recipe, name):
            assert isinstance(network, Subnet)
            trained = extract_subnet(self.supernet_detector(), network.architecture)
            detector.load_state_dict(trained.state_dict())
            self._recalibrate(detector)
        elif self.recipe.pretrains:
            load_weights(network, (self.pretrained or self.directory) / layout.PRETRAIN / name, part="backbone")
        elif self.weights is not None:
            self._fill(detector)
            self._recalibrate(detector)

    def _fill(self, detector: Detector) -> None:
        """The learned weights, if the recipe names any."""
        backbone = find_backbone(detector)
        if self.weights is not None:
            assert isinstance(backbone, SpaceBackbone)  # `check_run` refuses baselines of other kinds
            self.weights.fill(backbone)

    def _recalibrate(self, detector: Detector) -> None:
        settings, resizing = self.recipe.search, detector.transform.settings
        images = recalibration_images(self.data.fit, settings, self.seed("search"))
        batches = Inputs(
            images,
            settings.recalibration_batch_size,
            resizing,
            self.device,
            kept=False,
            cache_mb=0,
            disk=self.disk_cache,
        )
        recalibrate(detector.to(self.device), batches)

    def supernet_detector(self) -> Detector:
        """The supernet in the detector as it was fine-tuned, on the run's device."""
        detector = self.detector(self.supernet, self.recipe.search_detector)
        load_weights(detector, self.supernet_directory / layout.SUPERNET_FINETUNE)
        return detector.to(self.device)

    def supernet_classifier(self) -> Classifier:
        """The supernet in the classifier as it was pre-trained, on the run's device."""
        num_classes = ClassificationSet(self.recipe, self.data).num_classes
        classifier = self.classifier(self.supernet, num_classes)
        load_weights(classifier, self.supernet_directory / layout.SUPERNET_PRETRAIN)
        return classifier.to(self.device)

    def _fresh(self, make_backbone: Callable[[], Backbone]) -> Backbone:
        backbone = make_backbone()
        if self.recipe.init == "fan_in":
            shrink_depthwise(backbone)
        return backbone

    def classification(self, settings: TrainingSettings | None, part: Part) -> tuple[ClassificationTask, int]:
        """The task of pre-training on a part of the data, not augmented without `settings`, and the class count."""
        data = ClassificationSet(self.recipe, self.data)
        # An evaluator caches the images as it prepares them; they need no cache before that.
        samples = data.samples(part, settings, self.recipe.data.cache_mb if settings else 0, self.disk_cache)
        smoothing = settings.label_smoothing if settings else 0.0
        return ClassificationTask(samples, smoothing, self.recipe.detector), data.num_classes

    def detection(self, settings: TrainingSettings, data: DetectionSet, detector: DetectorSettings) -> DetectionTask:
        """The task of training on `data`, whose images are no larger than `detector` needs them."""
        recipe = self.recipe
        samples = DetectionSamples(
            data,
            settings,
            recipe.data.cache_mb,
            detector=detector,
            disk=self.disk_cache,
            group_by_aspect=recipe.data.group_by_aspect,
        )
        return DetectionTask(samples)

    def train(self, model: nn.Module, task: Task, settings: TrainingSettings, stage: str) -> None:
        """Train `model` in the folder of `stage`, or continue its training there."""
        stage_name = stage.split("/")[0]
        field = stage_name.replace("-", "_")
        smaller = "detector.min_size and max_size" if isinstance(task, DetectionTask) else "pretraining.image_size"
        others = f"and lr with it, or set {field}.precision=bf16, or lower {smaller}"
        with explain_out_of_memory(f"{field}.batch_size = {settings.batch_size}", others):
            passes = self._passes(model, stage)
            # The winner and the baselines see the same images in the same order.
            folder, seed = self.directory / stage, self.seed(stage_name)
            train(model, task, settings, folder, seed=seed, device=self.device, progress=self.progress, passes=passes)

    def paths(self, stage: str) -> PathSampler:
        """What draws the paths of a supernet in the training `stage`."""
        field = stage.replace("-", "_")
        settings: SupernetTrainingSettings = getattr(self.recipe, field)
        is_sandwich = settings.paths == "sandwich"
        if settings.macs_bins:
            size, name = self.recipe.budget.size, f"{field}.macs_bins"
            samplers = bin_samplers(self.space, settings.macs_bins, size, name)
        elif settings.paths == "even" or is_sandwich:
            samplers = interval_samplers(self.sampler)
        else:
            samplers = [self.sampler] if settings.paths == "budget" else []
        return PathSampler(self.space, samplers, is_sandwich=is_sandwich, is_fair=settings.paths == "fair")

    def _passes(self, model: nn.Module, stage: str) -> Callable[[int], Iterable[None]]:
        supernet = find_backbone(model)
        if not isinstance(supernet, Supernet):
            return one_pass

        def activate(path: Architecture) -> None:
            activate_path(model, path)
            if path.resolution and isinstance(model, Detector):
                set_resolution(model, self.recipe.detector.at(path.resolution))

        return path_chooser(activate, self.paths(stage), lambda step: self.seed(stage, "path", str(step)))

    def is_done(self, stage: str) -> bool:
        """Whether a training is done. Its checkpoints may be gone."""
        return is_done(self.directory / stage)

    def is_trained(self, stage: str, is_needed: Callable[[], bool]) -> bool:
        """Whether a training is done, and its last checkpoint is intact, or missing and `is_needed` is False.

        Whoever needs space may delete checkpoints. One that is damaged was not deleted: the training continues from the
        one before, and ends in the same weights.
        """
        state = training_state(self.directory / stage)
        return state == "intact" or (state == "missing" and not is_needed())

    def begins(self, stage: str) -> bool:
        """Whether a training would begin with pre-trained weights, and not continue from a checkpoint."""
        return not has_checkpoint(self.directory / stage)

    def read(self, file: RecordFile[T], folder: str) -> T:
        """The record in a folder of the run."""
        return file.parse(comm.broadcast_from_main(lambda: file.dump(file.read(self.directory / folder))))
