"""The detectors' settings. The defaults are the paper's; small images need smaller ones."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain, pairwise
from math import ceil, floor
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import (
    Field,
    PlainValidator,
    SerializeAsAny,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from detnas.config.detector_costs import fpn_head, fpn_parts, retinanet_head, retinanet_parts
from detnas.config.section import MOST_SIDE, Quantity, Section, Side, or_auto
from detnas.spaces import Architecture, Cost, DetectorParts, SearchSpace, Size
from detnas.spaces.block import NO_CHOICE, HeadSpace
from detnas.spaces.cost import total
from detnas.utils.import_string import load_table
from detnas.utils.text import describe_value

Norm = Literal["none", "batch", "group"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Factors = Annotated[tuple[Annotated[float, Field(ge=1e-3, le=1e3)], ...], Field(min_length=1, max_length=32)]
Strides = Annotated[tuple[Annotated[int, Field(gt=0, le=2**10)], ...], Field(min_length=1, max_length=8)]
Channels = Annotated[int, Field(gt=0, le=1024, multiple_of=8)]
Mean = Annotated[float, Field(ge=-1e6, le=1e6)]
Deviation = Annotated[float, Field(ge=1e-6, le=1e6)]
Sizes = Annotated[tuple[Side, ...], Field(max_length=32)]
PADDED_TO = 32
"""The sides of a batch of images are multiples of so many pixels, as in torchvision."""
AnchorSizes = Annotated[Literal["auto"] | Sizes, or_auto(Sizes, "a list of sizes in pixels, one a pyramid level")]


HeadOp = Literal["full", "separable", "skip"]
HEAD_OPS: tuple[HeadOp, ...] = get_args(HeadOp)
Towers = Annotated[tuple[Annotated[tuple[HeadOp, ...], Field(max_length=64)], ...], Field(max_length=8)]


class Preprocessing(Section):
    """How pixels become a network's input. The official networks' is `OFFICIAL_INPUT`."""

    image_mean: tuple[Mean, Mean, Mean] = (0.485, 0.456, 0.406)
    """Subtracted from RGB values in 0-1."""
    image_std: tuple[Deviation, Deviation, Deviation] = (0.229, 0.224, 0.225)
    """RGB values are divided by this, after the mean is subtracted."""
    channel_order: Literal["rgb", "bgr"] = "rgb"
    """The order in which the network then takes them."""


OFFICIAL_INPUT = Preprocessing(image_mean=(0, 0, 0), image_std=(1 / 255, 1 / 255, 1 / 255), channel_order="bgr")
"""What the official networks were trained on: BGR values in 0-255."""


class DetectorSettings(Preprocessing):
    """What the settings of all detectors have. A detector's own derive from it, with a default for `type`."""

    BOX_COUNTS: ClassVar[tuple[str, ...]] = ()
    """The fields that say how many boxes an image are worked on."""
    PIXELS: ClassVar[tuple[str, ...]] = ("max_size", "anchor_sizes")
    """The fields that grow with the resolution of images."""

    type: str
    """The detector."""
    min_size: Annotated[int, Field(ge=2, le=MOST_SIDE)] = 800
    """Images are resized so that the shorter side has this many pixels, unless the longer one would exceed
    `max_size`."""
    max_size: Side = 1333
    """The most pixels that the longer side of a resized image has."""
    strides: Strides = (4, 8, 16, 32)
    """The backbone's maps, by their strides, that feed the feature pyramid."""
    fpn_channels: Channels = 256
    """Channels of every map of the feature pyramid."""
    anchor_sizes: AnchorSizes = (32, 64, 128, 256, 512)
    """Side in pixels of the anchors, one a pyramid level. `auto`: sizes that fit the boxes of the training images, as
    large as these are once they are resized. `detnas run` writes them into recipe.yaml."""
    anchor_ratios: Factors = (0.5, 1.0, 2.0)
    """Height over width of the anchors."""
    head: Towers | None = None
    """What each convolution of each tower of the head is. `full`: a 3x3 convolution. `separable`: a 3x3 convolution of
    each channel on its own, and a 1x1 convolution. `skip`: it is left out. Left out itself: all are `full`."""
    geometry: Literal["torchvision", "maskrcnn-benchmark"] = "torchvision"
    """How anchors are placed and where a box's right and lower edges lie: as in torchvision, or as in the framework
    that the official detectors were trained in. See `detnas/models/detectors/geometry.py`."""
    score_threshold: Fraction = 0.05
    """Detections that score less are dropped."""
    nms_threshold: Fraction = 0.5
    """Of two boxes of one class that overlap more (IoU), the lower-scoring one is dropped."""
    detections: Quantity = 100
    """The most detections an image has."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        levels = self.pyramid_levels
        if self.anchor_sizes != "auto" and len(self.anchor_sizes) != levels:
            raise ValueError(f"anchor_sizes has {len(self.anchor_sizes)} entries, but the pyramid has {levels} levels")
        if not set(self.strides) <= {4, 8, 16, 32} or list(self.strides) != sorted(set(self.strides)):
            raise ValueError(f"strides {list(self.strides)} must be a rising choice of 4, 8, 16, 32")
        if self.max_size < self.min_size:
            raise ValueError(f"max_size {self.max_size} is less than min_size {self.min_size}")
        if self.head is not None:
            shape, wanted = [len(tower) for tower in self.head], [len(tower) for tower in self.head_channels]
            if shape != wanted:
                raise ValueError(
                    f"head has {shape} convolutions in its towers, but a {self.type} with these has {wanted}"
                )
            for op, (before, after) in zip(chain(*self.head), chain(*self.head_channels), strict=True):
                if op == "skip" and before != after:
                    raise ValueError(f"head: a convolution of {before} to {after} channels cannot be skipped")
        return self

    @property
    def head_channels(self) -> list[list[tuple[int, int]]]:
        """The channels of input and output of each convolution of each tower of the head that can be another op."""
        return []

    def head_space(self, ops: tuple[HeadOp, ...]) -> HeadSpace:
        """What the head can be if each convolution chooses among `ops`."""
        return HeadSpace(
            ops,
            tuple(
                tuple(
                    tuple(index for index, op in enumerate(ops) if op != "skip" or before == after)
                    for before, after in tower
                )
                for tower in self.head_channels
            ),
        )

    @property
    def preprocessing(self) -> Preprocessing:
        """How images become the input of the network."""
        return Preprocessing.model_validate(self.model_dump(include=set(Preprocessing.model_fields)))

    def of(self, architecture: Architecture, space: SearchSpace) -> Self:
        """The settings of the detector of an architecture of `space`: at its resolution and with its head."""
        sized = self.at(architecture.resolution)
        if not space.head.towers:
            return sized
        names = space.head.ops
        head = tuple(tuple(names[op] for op in tower) for tower in architecture.head)
        return sized.model_copy(update={"head": head})

    def at(self, resolution: int | None) -> Self:
        """These settings for images of another resolution, at which every size in pixels is larger or smaller by the
        same factor; the sizes of anchors are not `auto`. None: as they are."""
        if resolution is None or resolution == self.min_size:
            return self
        factor = resolution / self.min_size
        sizes = {name: getattr(self, name) for name in self.PIXELS}
        scaled = {
            name: tuple(_scaled(one, factor) for one in size) if isinstance(size, tuple) else _scaled(size, factor)
            for name, size in sizes.items()
        }
        return self.model_copy(update={"min_size": resolution, **scaled})

    def image_size(self, aspect_ratio: float) -> Size:
        """Height and width of what the backbone receives of one image, resized and padded, by its width over its
        height."""
        elongation = max(aspect_ratio, 1 / aspect_ratio)
        shorter = min(self.min_size, self.max_size / elongation)
        sides = [ceil(floor(side) / PADDED_TO) * PADDED_TO for side in (shorter, shorter * elongation)]
        return (sides[0], sides[1]) if aspect_ratio >= 1 else (sides[1], sides[0])

    def parts(self, channels: Mapping[int, int], classes: int, image: Size) -> DetectorParts:
        """What the detector costs besides its backbone, for an image of the `image_size`; `channels` are those of the
        backbone's maps by their strides. Where the work depends on what is found, it is counted at the most that the
        settings allow. The convolutions of the head are left out of it."""
        raise NotImplementedError

    def head_costs(self, image: Size) -> Iterator[dict[str, Cost]]:
        """What each convolution of the head costs, tower by tower, as each op, for an image of the `image_size`."""
        yield from ()

    def whole_parts(
        self, channels: Mapping[int, int], classes: int, image: Size, head: HeadSpace = NO_CHOICE
    ) -> DetectorParts:
        """`parts` with the convolutions of the head, as these settings have them or as `head` leaves them to choose."""
        parts, costs = self.parts(channels, classes, image), list(self.head_costs(image))
        if not head.towers:
            ops = list(chain(*self.head)) if self.head else ["full"] * len(costs)
            return replace(parts, heads=total([parts.heads, *(of[op] for op, of in zip(ops, costs, strict=True))]))
        rows = ({op: of[head.ops[op]] for op in row} for row, of in zip(head.allowed_ops, costs, strict=True))
        return replace(parts, head_rows=tuple(rows))

    @property
    def unscaled_edge(self) -> float:
        """How many pixels of a box's right and lower edges are not scaled when an image is resized."""
        return 1.0 if self.geometry == "maskrcnn-benchmark" else 0.0

    @property
    def pyramid_levels(self) -> int:
        """Levels of the feature pyramid, with those that it adds to the backbone's maps."""
        return len(self.strides)

    @property
    def level_strides(self) -> tuple[int, ...]:
        """The stride of each pyramid level. Each level that the pyramid adds has twice the stride of the one before."""
        added = self.pyramid_levels - len(self.strides)
        return (*self.strides, *(self.strides[-1] * 2**number for number in range(1, added + 1)))


class FPNSettings(DetectorSettings):
    """Faster R-CNN with a feature pyramid and the 4conv1fc box head.

    Its losses are torchvision's. The official code's differ in two places: smooth-L1 of the box head has beta 1 there,
    not 1/9, and anchors that reach outside the image are not trained.
    """

    PIXELS = (*DetectorSettings.PIXELS, "roi_canonical_size")
    BOX_COUNTS = ("rpn_candidates_train", "rpn_candidates", "proposals_train", "proposals", "rois")

    type: Literal["fpn"] = "fpn"
    """The detector."""
    norm: Norm = "batch"
    """Normalization in the pyramid and in the box head; none in the RPN."""
    rpn_candidates_train: Quantity = 2000
    """Best-scoring anchors of a pyramid level that non-maximum suppression chooses from, in training."""
    rpn_candidates: Quantity = 1000
    """Best-scoring anchors of a pyramid level that non-maximum suppression chooses from, in evaluation."""
    proposals_train: Quantity = 2000
    """Proposals an image after non-maximum suppression, in training."""
    proposals: Quantity = 1000
    """Proposals an image after non-maximum suppression, in evaluation. The box head looks at each of them, which is
    most of a detector's cost on a CPU."""
    rois: Quantity = 512
    """Proposals an image that the box head is trained on, up to a quarter of them positive."""
    roi_canonical_size: Side = 224
    """A box of this side is pooled from the stride-16 map, half of it from stride 8, and so on."""
    box_convs: Annotated[int, Field(ge=0, le=64)] = 4
    """3x3 convolutions in the box head."""
    box_channels: Channels = 256
    """Output channels of the box head's convolutions."""
    box_features: Annotated[int, Field(gt=0, le=2**14)] = 1024
    """Width of the box head's fully connected layer."""

    @property
    def head_channels(self) -> list[list[tuple[int, int]]]:
        return [list(pairwise([self.fpn_channels, *[self.box_channels] * self.box_convs]))]

    def head_costs(self, image: Size) -> Iterator[dict[str, Cost]]:
        yield from fpn_head(self)

    def parts(self, channels: Mapping[int, int], classes: int, image: Size) -> DetectorParts:
        return fpn_parts(self, channels, classes, image)

    @property
    def pyramid_levels(self) -> int:
        return len(self.strides) + 1


class RetinaNetSettings(DetectorSettings):
    """RetinaNet: one stage, focal loss."""

    BOX_COUNTS = ("candidates",)

    type: Literal["retinanet"] = "retinanet"
    """The detector."""
    strides: Strides = (8, 16, 32)
    """The backbone's maps, by their strides, that feed the feature pyramid."""
    extra_levels: Literal[0, 2] = 2
    """Pyramid levels beyond the backbone's maps. 2: P6 and P7 by stride-2 convolutions from P5. 0: none, for small
    images, of which these levels would be a few pixels."""
    nms_threshold: Fraction = 0.4
    """Of two boxes of one class that overlap more (IoU), the lower-scoring one is dropped."""
    norm: Norm = "none"
    """Normalization in the pyramid and the towers."""
    head_convs: Annotated[int, Field(ge=1, le=4)] = 4
    """Convolutions in each of the two towers, of classes and of boxes."""
    anchor_scales: Factors = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
    """Each of `anchor_sizes` is taken at each of these scales."""
    candidates: Quantity = 1000
    """Best-scoring boxes of a pyramid level that non-maximum suppression chooses from."""
    losses: Literal["paper", "torchvision"] = "paper"
    """`paper`: the box tower predicts offsets and log sizes times 10, 10, 5 and 5; its loss is a quarter of smooth-L1
    with beta 0.11, averaged over the batch's positive anchors. `torchvision`: offsets and log sizes as they are; L1,
    averaged over each image's positive anchors."""

    @property
    def head_channels(self) -> list[list[tuple[int, int]]]:
        return [[(self.fpn_channels, self.fpn_channels)] * self.head_convs] * 2

    def head_costs(self, image: Size) -> Iterator[dict[str, Cost]]:
        yield from retinanet_head(self, image)

    def parts(self, channels: Mapping[int, int], classes: int, image: Size) -> DetectorParts:
        return retinanet_parts(self, channels, classes, image)

    @property
    def pyramid_levels(self) -> int:
        return len(self.strides) + self.extra_levels


def _scaled(size: int, factor: float) -> int:
    return max(1, round(size * factor))


PAPER_DETECTORS: dict[str, type[DetectorSettings]] = {"fpn": FPNSettings, "retinanet": RetinaNetSettings}
"""The settings of the paper's detectors by type. They are here so that a recipe is read without importing torch; those
of other detectors are with their implementation, in the table `detnas.models.detectors.DETECTORS`."""


def detector_types() -> dict[str, type[DetectorSettings]]:
    """The settings of every detector by its type. Imports the detectors."""
    return {name: spec.settings for name, spec in load_table("detnas.models.detectors:DETECTORS").items()}


def find_settings(type: str) -> type[DetectorSettings] | None:
    """The settings of the detector `type`, or None if there is no such detector."""
    return PAPER_DETECTORS.get(type) or detector_types().get(type)


def read_settings(values: Any) -> DetectorSettings:
    """A detector's settings from their values by field, with `type` among them; settings are given back as they are.

    Raises `ValidationError` for values that do not fit, in which the location of an error begins with the type, and
    `PydanticCustomError` for an unknown `type`.
    """
    if isinstance(values, DetectorSettings):
        return values
    type = values.get("type") if isinstance(values, dict) else None
    settings = find_settings(type) if isinstance(type, str) else None
    if type is None or settings is None:
        found = f"type = {describe_value(type)}: " if type is not None else "type is missing; "
        context = {"found": found, "choices": ", ".join(detector_types())}
        raise PydanticCustomError("detector_type", "{found}choose one of {choices}", context)
    try:
        return settings.model_validate(values)
    except ValidationError as error:
        lines = [
            InitErrorDetails(type=one["type"], loc=(type, *one["loc"]), input=one["input"], ctx=one.get("ctx", {}))
            for one in error.errors()
        ]
        raise ValidationError.from_exception_data(error.title, lines) from None


AnyDetector = Annotated[
    SerializeAsAny[DetectorSettings],
    PlainValidator(
        read_settings, json_schema_input_type=Annotated[FPNSettings | RetinaNetSettings, Field(discriminator="type")]
    ),
]
"""A recipe's field that takes the settings of any detector. Its JSON schema has the paper's."""
