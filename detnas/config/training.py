"""How one of the four trainings runs."""

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from detnas.config.numbers import Count
from detnas.config.section import Section


class TrainingSettings(Section):
    """Steps, batch, optimizer and schedule of one training."""

    steps: PositiveInt
    """Updates of the weights."""
    batch_size: PositiveInt
    """Images a step, of all processes together."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with momentum is the paper's."""
    lr: PositiveFloat
    """The highest learning rate."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of SGD."""
    weight_decay: NonNegativeFloat = 1e-4
    """Of weights, and of what `decay_norms` says."""
    decay_norms: bool = True
    """Whether BN scales decay too (the paper's detectors: yes; its classifiers: no). Biases never do."""
    bias_lr_factor: PositiveFloat = 1.0
    """Learning rate of biases over that of weights (the paper's detectors: 2)."""
    schedule: Literal["linear", "step", "cosine"] = "linear"
    """`linear` falls to zero, `step` drops to a tenth at each milestone, `cosine` falls to zero."""
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (2 / 3, 8 / 9)
    """Of `step`: where the rate drops, as fractions of the steps."""
    warmup: NonNegativeInt = 0
    """Steps over which the rate rises linearly from a third."""
    clip_norm: PositiveFloat | None = None
    """Gradients are scaled down to this norm."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the moving average of the weights (and BN statistics) that a step keeps, for example 0.9998; what the
    training leaves is the average then. A tensor's average takes in the steps that trained it, and no others."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """`bf16`: autocast in forward and loss."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Of classification."""
    color_jitter: NonNegativeFloat = 0.0
    """Strength of the changes of brightness, contrast and saturation; 0 for none."""
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability of a horizontal flip."""
    vertical_flip: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability of a vertical flip (for images without an upright, such as aerial ones)."""
    scale_jitter: tuple[PositiveFloat, PositiveFloat] | None = None
    """Of detection: images are resized by a factor drawn from this range, then cropped or padded to their size."""
    sync_bn: bool = False
    """Whether the statistics of BN in training are those of the images of all processes; if not, each process has
    those of its part of the batch. (The paper's detectors: yes; its classifiers: no.)"""
    workers: NonNegativeInt = 0
    """Processes that prepare images for each training process, at most one a core; 0 prepares them there."""
    checkpoint_every: PositiveInt = 500
    """Steps between checkpoints."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.scale_jitter is not None and self.scale_jitter[0] > self.scale_jitter[1]:
            raise ValueError(f"scale_jitter {list(self.scale_jitter)} must run from the smaller to the larger factor")
        if self.warmup >= self.steps:
            raise ValueError(f"warmup {self.warmup} must be less than steps {self.steps}")
        return self


class SupernetTrainingSettings(TrainingSettings):
    """The same of a supernet, and how its paths are drawn."""

    macs_bins: tuple[Count, ...] | None = None
    """Rising edges of bins of the backbone's MACs, counted as the budget counts them: for each step a bin is
    drawn, then a path within it. Without bins a path is drawn from the whole space, as the paper has it."""

    fair_paths: bool = False
    """Whether each step trains four paths (as many as there are ops) on its batch, in which each op of each block
    stands once, and sums their gradients (FairNAS's strict fairness): four times the work of a step."""

    @model_validator(mode="after")
    def _check_paths(self) -> Self:
        edges = self.macs_bins
        if edges is not None and (len(edges) < 2 or any(low >= high for low, high in pairwise(edges))):
            written = ", ".join(f"{edge:,.0f}" for edge in edges)
            raise ValueError(f"macs_bins [{written}] must be two or more edges, each above the one before it")
        if edges is not None and self.fair_paths:
            raise ValueError("fair_paths draws from the whole space; leave out macs_bins, or fair_paths")
        return self

    def paths_per_step(self, ops: int) -> int:
        """Paths that a step trains, of a space of so many ops."""
        return ops if self.fair_paths else 1
