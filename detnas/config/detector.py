"""The two detectors' settings. The defaults are the paper's; small images want smaller ones."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from detnas.config.section import Section

Norm = Literal["none", "batch", "group"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Factors = Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
Strides = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class Preprocessing(Section):
    """How pixels become a network's input. The official networks' is `OFFICIAL_INPUT`."""

    image_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Subtracted from RGB values in 0-1."""
    image_std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.229, 0.224, 0.225)
    """RGB values are divided by this, after the mean is subtracted."""
    channel_order: Literal["rgb", "bgr"] = "rgb"
    """The order in which the network then takes them."""


OFFICIAL_INPUT = Preprocessing(image_mean=(0, 0, 0), image_std=(1 / 255, 1 / 255, 1 / 255), channel_order="bgr")
"""What the official networks were trained on: BGR values in 0-255."""


class _Detector(Preprocessing):
    min_size: PositiveInt = 800
    """Images are resized so that the shorter side has this many pixels…"""
    max_size: PositiveInt = 1333
    """…unless the longer side would exceed this many."""
    strides: Strides
    fpn_channels: Annotated[int, Field(gt=0, multiple_of=8)] = 256
    """Of every map of the feature pyramid."""
    anchor_sizes: tuple[PositiveInt, ...] = (32, 64, 128, 256, 512)
    """Side in pixels of the anchors, one a pyramid level."""
    anchor_ratios: Factors = (0.5, 1.0, 2.0)
    """Height over width of the anchors."""
    geometry: Literal["torchvision", "maskrcnn-benchmark"] = "torchvision"
    """Where anchors lie and what a box's right and lower edges are: as in torchvision, or as in the framework of the
    official code, which official detectors were trained with. See `detnas/models/detectors/geometry.py`."""
    score_threshold: Fraction = 0.05
    """Detections that score less are dropped."""
    nms_threshold: Fraction
    detections: PositiveInt = 100
    """At most this many detections an image."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        levels = len(self.strides) + self._extra_levels
        if len(self.anchor_sizes) != levels:
            raise ValueError(f"anchor_sizes has {len(self.anchor_sizes)} entries, but the pyramid has {levels} levels")
        if not set(self.strides) <= {4, 8, 16, 32} or list(self.strides) != sorted(set(self.strides)):
            raise ValueError(f"strides {list(self.strides)} must be a rising choice of 4, 8, 16, 32")
        if self.max_size < self.min_size:
            raise ValueError(f"max_size {self.max_size} is less than min_size {self.min_size}")
        return self

    @property
    def unscaled_edge(self) -> float:
        """How many pixels of a box's right and lower edges are not scaled when an image is resized."""
        return 1.0 if self.geometry == "maskrcnn-benchmark" else 0.0

    @property
    def _extra_levels(self) -> int:
        """Pyramid levels beyond the backbone's maps."""
        raise NotImplementedError


class FPNSettings(_Detector):
    """Faster R-CNN with a feature pyramid and the 4conv1fc box head.

    Its losses are torchvision's. The official code's differ in two places: smooth-L1 of the box head has beta 1 there,
    not 1/9, and anchors that reach outside the image are not trained.
    """

    type: Literal["fpn"] = "fpn"
    """Which detector."""
    strides: Strides = (4, 8, 16, 32)
    """The backbone maps (by stride) that feed the feature pyramid."""
    nms_threshold: Fraction = 0.5
    """Of two boxes of one class that overlap more (IoU), the lower-scoring one is dropped."""
    norm: Norm = "batch"
    """Normalization in the pyramid and in the box head; none in the RPN."""
    rpn_candidates_train: PositiveInt = 2000
    """Best-scoring anchors a level before non-maximum suppression, in training."""
    rpn_candidates: PositiveInt = 1000
    """The same in evaluation."""
    proposals_train: PositiveInt = 2000
    """Proposals an image after non-maximum suppression, in training."""
    proposals: PositiveInt = 1000
    """The same in evaluation; nearly all the cost on a CPU lies here."""
    rois: PositiveInt = 512
    """Proposals an image that the box head is trained on, a quarter of them positive."""
    roi_canonical_size: PositiveInt = 224
    """A box of this side is pooled from the stride-16 map, half of it from stride 8, and so on."""
    box_convs: Annotated[int, Field(ge=0)] = 4
    """3x3 convolutions in the box head."""
    box_channels: Annotated[int, Field(gt=0, multiple_of=8)] = 256
    """Of these."""
    box_features: PositiveInt = 1024
    """Width of the box head's fully connected layer."""

    @property
    def _extra_levels(self) -> int:
        return 1


class RetinaNetSettings(_Detector):
    """RetinaNet: one stage, focal loss."""

    type: Literal["retinanet"] = "retinanet"
    """Which detector."""
    strides: Strides = (8, 16, 32)
    """The backbone maps (by stride) that feed the feature pyramid."""
    extra_levels: Literal[0, 2] = 2
    """2: P6 and P7 by stride-2 convolutions from P5. 0: none (for small images, where they have no extent)."""
    nms_threshold: Fraction = 0.4
    """Of two boxes of one class that overlap more (IoU), the lower-scoring one is dropped."""
    norm: Norm = "none"
    """Normalization in the pyramid and the towers."""
    head_convs: Annotated[int, Field(ge=1, le=4)] = 4
    """Convolutions in each of the two towers."""
    anchor_scales: Factors = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
    """Anchors of each size at these scales."""
    candidates: PositiveInt = 1000
    """Best-scoring boxes a level before non-maximum suppression."""
    losses: Literal["paper", "torchvision"] = "paper"
    """`paper`: the box head answers 10, 10, 5 and 5 times the offsets and log sizes; a quarter of smooth-L1 with beta
    0.11; averages over the batch's positive anchors. `torchvision`: offsets and log sizes as they are; L1; averages
    over each image's positive anchors."""

    @property
    def _extra_levels(self) -> int:
        return self.extra_levels


DetectorSettings = Annotated[FPNSettings | RetinaNetSettings, Field(discriminator="type")]
