"""The settings of a training."""

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from detnas.config.section import BatchSize, Count, Section, Steps
from detnas.spaces.space import MOST_STAGES

Rate = Annotated[float, Field(gt=0, le=1e30)]
Scale = Annotated[float, Field(gt=0, le=10)]


class TrainingSettings(Section):
    """Steps, batch size, optimizer, schedule and augmentation of a training."""

    steps: Steps
    """Number of steps of the optimizer."""
    batch_size: BatchSize
    """Images per step, of all processes together."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """The paper uses SGD with momentum."""
    lr: Rate
    """The peak learning rate."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of SGD."""
    weight_decay: Annotated[float, Field(ge=0, le=1000)] = 1e-4
    """Weight decay of weights, and of the scales of norms if `decay_norms` is true; biases do not decay."""
    decay_norms: bool = True
    """Whether weight decay applies to the scales of norms (in the paper, for detectors but not for classifiers)."""
    backbone_lr_factor: Rate = 1.0
    """Factor on the learning rate of the backbone."""
    frozen_norms: bool = False
    """Whether BN of the backbone keeps its statistics, scales and shifts. For single networks only."""
    frozen_stages: Annotated[int, Field(ge=0, le=1 + MOST_STAGES)] = 0
    """The first parts of the backbone that are not trained: 1 is the stem, 2 the stem and the first stage, and so
    on. For single networks only."""
    bias_lr_factor: Rate = 1.0
    """Factor on the learning rate of biases (2 for the paper's detectors)."""
    schedule: Literal["linear", "step", "cosine"] = "linear"
    """How the learning rate decreases: `linear` and `cosine` to zero; `step` to a tenth at each milestone."""
    milestones: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(max_length=100)] = (2 / 3, 8 / 9)
    """When the learning rate drops in schedule `step`, as fractions of the steps."""
    warmup: Annotated[int, Field(ge=0, le=10**9)] = 0
    """Number of steps over which the learning rate rises linearly from a third of its value."""
    clip_norm: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """Maximum norm of the gradients, to which they are scaled down."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of an exponential moving average (EMA) of the weights and BN statistics, for example 0.9998. If given, the
    average is the result of the training. A tensor's average includes only the steps that trained the tensor."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """`bf16`: autocast to bfloat16 in the forward pass and the loss."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Label smoothing of the cross-entropy, in classification."""
    color_jitter: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Strength of random changes of brightness, contrast and saturation; 0 for none."""
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability of a horizontal flip."""
    vertical_flip: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability of a vertical flip (for images without a top, such as aerial ones)."""
    scale_jitter: tuple[Scale, Scale] | None = None
    """Range of a random factor by which images are resized, then cropped or padded to their size, in detection."""
    sync_bn: bool = False
    """Synchronize BN: normalize by the statistics of the whole batch of all processes in training, not by those of each
    process's part (in the paper, for detectors but not for classifiers)."""
    workers: Annotated[int, Field(ge=0, le=1024)] = 0
    """Data loading processes per training process, at most one per core; 0 loads images in the training process."""
    checkpoint_every: Steps = 500
    """Steps between checkpoints."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.scale_jitter is not None and self.scale_jitter[0] > self.scale_jitter[1]:
            raise ValueError(f"scale_jitter {list(self.scale_jitter)} must run from the smaller to the larger factor")
        if self.warmup >= self.steps:
            raise ValueError(f"warmup {self.warmup} must be less than steps {self.steps}")
        return self

    def scaled(self, factor: float) -> Self:
        """These settings with `factor` times the steps, and at most so many times the warm-up."""
        steps = max(1, round(factor * self.steps))
        warmup = min(self.warmup, round(factor * self.warmup), steps - 1)
        return self.model_copy(update={"steps": steps, "warmup": warmup})


class SupernetTrainingSettings(TrainingSettings):
    """The settings of a supernet's training: those of a training, and how paths are sampled."""

    paths: Literal["space", "budget", "even", "sandwich", "fair"] = "space"
    """Which paths a step trains. `space`: one, uniformly from the whole space, as in the paper. `budget`: one,
    uniformly within the budget, as candidates of the search are. `even`: one, evenly over the costs within the budget:
    one of eight equal intervals is drawn, and a path within it. `sandwich`: three, one of the cheapest interval, one of
    the most expensive, and one as by `even`. `fair`: strict fairness (FairNAS), as many as there are ops, which
    together contain every op of every block once. Several paths are trained on the same batch, and their gradients are
    summed; a step takes that many times longer."""
    macs_bins: Annotated[tuple[Count, ...], Field(max_length=100)] | None = None
    """Increasing edges of bins of the backbone's MACs, counted as in the budget. In each step a bin is sampled, then a
    path within it. It takes the place of `paths`."""

    @model_validator(mode="after")
    def _check_supernet(self) -> Self:
        if self.frozen_norms or self.frozen_stages:
            raise ValueError(
                "a supernet has no frozen_norms and no frozen_stages: candidates get BN statistics of their own, which "
                "frozen parts have not learned to work with; freeze them in the training of single networks"
            )
        edges = self.macs_bins
        if edges is not None and (len(edges) < 2 or any(low >= high for low, high in pairwise(edges))):
            written = ", ".join(f"{edge:,.0f}" for edge in edges)
            raise ValueError(f"macs_bins [{written}] must be two or more edges, each above the one before it")
        if edges is not None and self.paths != "space":
            raise ValueError(f"macs_bins and paths {self.paths}: each says which paths are sampled; choose one of them")
        return self

    def paths_per_step(self, ops: int) -> int:
        """The number of paths that a step trains, in a space with `ops` ops."""
        return {"fair": ops, "sandwich": 3}.get(self.paths, 1)
