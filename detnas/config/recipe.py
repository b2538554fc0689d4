"""The recipe, a complete experiment: its sections, and the checks across them."""

from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from detnas.config.data import DataSettings
from detnas.config.detector import AnyDetector, DetectorSettings, Preprocessing
from detnas.config.finals import FinalsSettings
from detnas.config.pretraining import SHIPPED_WEIGHTS, PretrainingSettings
from detnas.config.search import SearchSettings
from detnas.config.section import Name, Section, Seed
from detnas.config.space import BudgetSettings, SpaceSettings, without_table
from detnas.config.training import SupernetTrainingSettings, TrainingSettings
from detnas.spaces import (
    Architecture,
    Budget,
    DetectorParts,
    LatencyTable,
    SearchSpace,
    Size,
    published,
    read_latencies,
)
from detnas.spaces.block import NO_CHOICE
from detnas.spaces.latency import find_table
from detnas.utils.errors import suggestion

RANDOM = {"random": 1} | {f"random{number}": number for number in range(2, 10)}
"""The baselines that are sampled within the budget, with the number of each sample."""

BASELINES = ("shuffle3", *RANDOM, *published.NAMES)


def _check_baseline(name: str) -> str:
    if name not in BASELINES:
        raise ValueError(f"unknown baseline; {suggestion(name, BASELINES)}")
    return name


Baseline = Annotated[str, AfterValidator(_check_baseline)]

PAPER_CLASSIFICATION: dict[str, Any] = {"steps": 300_000, "batch_size": 1024, "lr": 0.5, "weight_decay": 4e-5}
"""The paper's training on ImageNet, as far as it is no default."""
TRAININGS = ("supernet_pretrain", "pretrain", "supernet_finetune", "finetune")
"""The sections of a recipe that are trainings."""


class Recipe(Section):
    """A complete experiment. `pretrain` and `finetune` are the trainings of the winner and of each baseline.
    `supernet_pretrain` and `pretrain` can be left out where nothing is pre-trained."""

    name: Name
    """The name of the run: of its default directory, `runs/NAME`, and in its report."""
    seed: Seed = 0
    """Seed of everything random: splits, initial weights, order of images, augmentation, sampled paths, search."""
    fitted_time: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """Seconds to which `detnas run --time` has fitted the steps of the trainings and the evaluations of the search, as
    they are written here. Not to be set by hand."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` uses a GPU if there is one."""
    workers: Literal["auto"] | Annotated[int, Field(gt=0, le=1024)] = 1
    """Processes of one thread each that share the search and the trainings after it, where the device is a CPU. `auto`:
    as many as cores and memory allow. 1: all cores work on one network after the other."""
    data: DataSettings = DataSettings()
    space: SpaceSettings = SpaceSettings()
    budget: BudgetSettings = BudgetSettings()
    detector: AnyDetector
    pretraining: PretrainingSettings = PretrainingSettings()
    init: Literal["official", "fan_in"] = "official"
    """Initialization of the convolutions of backbones. `official`: normal, with standard deviation 1 / input channels,
    which is 1 for depthwise kernels of every size. `fan_in`: the same, but 1 / side for depthwise kernels, so that
    large kernels learn as fast as small ones in short schedules. The mobile spaces have EfficientNet's initialization
    instead, which `fan_in` would not change."""
    inherit: bool = False
    """Whether the winner, and the baselines of the search space, begin their training on detection with the weights of
    the fine-tuned supernet, with BN statistics recalibrated as in the search, and are not pre-trained. By default they
    begin with the weights of their pre-training, or with learned ones."""
    supernet_pretrain: SupernetTrainingSettings = SupernetTrainingSettings(**PAPER_CLASSIFICATION)
    supernet_finetune: SupernetTrainingSettings
    search: SearchSettings = Field(default_factory=SearchSettings)
    finals: FinalsSettings | None = None
    """How the best candidates are compared with the incumbents before one of them is handed over. Left out or `off`, as
    in the paper: the candidate with the highest fitness is."""
    pretrain: TrainingSettings = TrainingSettings(**PAPER_CLASSIFICATION)
    finetune: TrainingSettings
    baselines: Annotated[tuple[Baseline, ...], Field(max_length=len(BASELINES))] = ("shuffle3", "random")
    """The networks that are trained like the winner and compared with it. `shuffle3`: that op in every block, which is
    ShuffleNetV2 in this space; `random`, `random2` … `random9`: sampled within the budget; or the name of a published
    network, which has its own space (see `detnas models`)."""

    @model_validator(mode="before")
    @classmethod
    def _take_off(cls, values: Any) -> Any:
        # YAML reads `off` as false.
        return values | {"finals": None} if isinstance(values, dict) and values.get("finals") is False else values

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.pretraining.source == "folder" and self.pretraining.folder is None:
            raise ValueError("pretraining.folder must name an image folder when pretraining.source is 'folder'")
        self._check_weights()
        for name, is_used in (("supernet_pretrain", self.pretrains_supernet), ("pretrain", self.pretrains)):
            if is_used and name not in self.model_fields_set:
                raise ValueError(f"{name} is missing; give its steps, batch_size and lr, or choose another pretraining")
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
            raise without_table("search.second_objective latency")
        space = self.search_space()
        ops = space.ops
        if "shuffle3" in self.baselines and "shuffle3" not in ops:
            raise ValueError(
                f"baselines {list(self.baselines)}: shuffle3 is none of space.ops {', '.join(ops)}; leave it out"
            )
        if self.init == "fan_in" and space.family != "shufflenet":
            raise ValueError(f"init fan_in: the networks of space {space.name} have an initialization of their own")
        if space.resolutions and self.detector.min_size not in space.resolutions:
            raise ValueError(
                f"space.resolutions {list(space.resolutions)}: detector.min_size {self.detector.min_size} is none of "
                "them; add it"
            )
        if len(space.resolutions) > 1 and self.budget.of == "backbone":
            raise ValueError(
                f"space.resolutions {list(space.resolutions)}: the cost of backbones is counted at budget.size, "
                "not at these; choose budget.of detector"
            )
        if self.space.head_ops:
            if not space.head.allowed_ops:
                raise ValueError(f"space.head_ops: a {self.detector.type} has no convolutions to choose; leave it out")
            if self.detector.head is not None:
                raise ValueError("detector.head is what space.head_ops leaves to choose; leave one of them out")
            if self.budget.of == "backbone":
                raise ValueError("space.head_ops: backbones cost the same with every head; choose budget.of detector")
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
        """The search space, `space`, with what it leaves to choose of the detector's head."""
        ops = self.space.head_ops
        return replace(self.space.search_space(), head=self.detector.head_space(ops) if ops else NO_CHOICE)

    def cost_budget(self) -> Budget:
        """The bounds of `budget`, in which nothing is `auto`. Raises `UserError` if its table of latencies cannot be
        read."""
        budget, tables = self.budget, self.latencies()
        parts: dict[int | None, DetectorParts] = {}
        if budget.of == "detector":
            for resolution in self.space.search_space().resolution_choices:
                of_one = self.detector_parts(resolution)
                if tables:
                    of_one = find_table(tables, self.timed_detector, of_one.size).added_to(of_one)
                parts[resolution] = of_one
        least, most = budget.latency_min or 0, inf if budget.latency_max is None else budget.latency_max
        return Budget(
            macs=(budget.macs_min or 0, inf if budget.macs_max is None else budget.macs_max),
            params=(budget.params_min or 0, inf if budget.params_max is None else budget.params_max),
            latency=(round(1000 * least, 3), round(1000 * most, 3)),  # in microseconds, the unit of tables
            latencies=find_table(tables, None) if tables and not parts else None,
            size=budget.size,
            detector=parts or None,
        )

    def latencies(self) -> tuple[LatencyTable, ...]:
        """The tables of measured latencies that the budget names. Raises `UserError` if they cannot be read."""
        return read_latencies(Path(self.budget.latencies)) if self.budget.latencies else ()

    @property
    def timed_detector(self) -> dict[str, Any]:
        """What latencies depend on besides the backbone and the size of the image, of which nothing is `auto`."""
        pixels = {"min_size", *self.detector.PIXELS, *Preprocessing.model_fields}
        settings = self.detector.model_dump(mode="json", exclude=pixels | {"score_threshold", "nms_threshold"})
        return settings | {"classes": self.classes, "head_ops": list(self.space.head_ops)}

    def detector_parts(self, resolution: int | None) -> DetectorParts:
        """What a detector costs besides its backbone at a resolution of the space; nothing of `budget` is `auto`."""
        space, settings = self.search_space(), self.detector.at(resolution)
        channels = dict(zip(space.strides, space.map_channels, strict=True))
        return settings.whole_parts(channels, self.classes, self.image_size(settings), space.head)

    @property
    def classes(self) -> int:
        """The number of classes with which detectors are counted, if it is not `auto`."""
        assert self.budget.classes != "auto"
        return self.budget.classes

    def image_size(self, detector: DetectorSettings) -> Size:
        """Height and width of the image for which a detector's MACs are counted, if the aspect ratio is not `auto`."""
        assert self.budget.aspect_ratio != "auto"
        return detector.image_size(self.budget.aspect_ratio)

    def detector_of(self, architecture: Architecture) -> DetectorSettings:
        """The settings of the detector of an architecture of the space."""
        return self.detector.of(architecture, self.search_space())
