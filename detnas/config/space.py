"""The sections of a recipe on the search space and on what its networks may cost."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from detnas.config.detector import HEAD_OPS, HeadOp
from detnas.config.section import Count, PathText, Quantity, Section, Side, or_auto
from detnas.spaces import PAPER_OPS, SearchSpace, search_space
from detnas.spaces.architecture import MOST_BLOCKS, MOST_OPS
from detnas.spaces.named import SPACES
from detnas.spaces.space import MOST_CHANNELS, MOST_STAGES
from detnas.utils.errors import UserError
from detnas.utils.files import real_path

SIZE = 224
"""Side in pixels of the images for which papers count the MACs of backbones."""
BOUNDS = ("macs_min", "macs_max", "params_min", "params_max", "latency_min", "latency_max")
AspectNumber = Annotated[float, Field(ge=0.01, le=100)]
AspectRatio = Annotated[Literal["auto"] | AspectNumber, or_auto(AspectNumber, "width over height")]
Classes = Annotated[Literal["auto"] | Quantity, or_auto(Quantity, "a number of classes")]
Milliseconds = Annotated[float, Field(ge=0, le=1e9)]
WideChannels = Annotated[int, Field(gt=0, le=MOST_CHANNELS)]
Repeats = Annotated[int, Field(gt=0, le=MOST_BLOCKS)]


def _check_space(name: str) -> str:
    if name not in SPACES:
        raise ValueError(f"choose one of {', '.join(SPACES)}")
    return name


def without_table(field: str) -> ValueError:
    """What to raise for a field that needs `budget.latencies`."""
    return ValueError(
        f"{field} needs a table of latencies; let budget.latencies name a file that `detnas profile RECIPE --latency` "
        "wrote"
    )


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

    resolutions: Annotated[tuple[Side, ...], Field(max_length=16)] = ()
    """Resolutions among which each detector chooses: shorter sides in pixels to which images are resized, rising.
    `detector.min_size` is one of them, at which the detector's other sizes in pixels are meant: at another resolution
    they are larger or smaller by the same factor. Empty: all detectors have `detector.min_size`."""

    head_ops: Annotated[tuple[HeadOp, ...], Field(max_length=len(HEAD_OPS))] = ()
    """Ops among which each convolution of the detector's head chooses, see `detector.head`: those of both towers of
    `retinanet`, and those of the box head of `fpn`. Empty: there is no choice."""

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
        if len(set(self.head_ops)) < len(self.head_ops) or self.head_ops == ("skip",):
            raise ValueError(f"head_ops {list(self.head_ops)}: name each once, and not skip alone")
        if self.width != 1.0 and (self.stem or self.channels):
            raise ValueError(f"width {self.width:g} scales the space's own channels; leave it out beside channels")
        try:
            self.search_space()
        except UserError as error:
            raise ValueError(str(error)) from None
        return self

    def search_space(self) -> SearchSpace:
        """The search space of these settings. Raises `UserError` if it is not possible."""
        space = search_space(
            self.name, self.width, stem=self.stem, channels=self.channels, repeats=self.repeats, ops=self.ops
        )
        return replace(space, resolutions=self.resolutions)


class BudgetSettings(Section):
    """Bounds on a network's cost for one image. Numbers may have units: 300M, 1.3G."""

    of: Literal["detector", "backbone"] = "detector"
    """What the bounds are on. `detector`: backbone, pyramid and heads, for an image of `aspect_ratio` as the detector
    resizes it. `backbone`: its stem and blocks alone, for a square image of `size`, as in the paper. Bounds need it."""
    macs_min: Count | None = None
    """Minimum of the multiply-accumulate operations (MACs; the paper calls them FLOPs)."""
    macs_max: Count | None = None
    """Maximum of the MACs."""
    params_min: Count | None = None
    """Minimum of the parameters, including those of BN."""
    params_max: Count | None = None
    """Maximum of the parameters, including those of BN."""
    aspect_ratio: AspectRatio = "auto"
    """Width over height of the image for which a detector's MACs are counted. `auto`: the median of the training
    images. `detnas run` writes it into recipe.yaml."""
    classes: Classes = "auto"
    """Number of classes with which a detector's MACs and parameters are counted. `auto`: those of the data set.
    `detnas run` writes it into recipe.yaml."""
    size: Annotated[int, Field(gt=0, le=2**12)] = SIZE
    """Side in pixels of the square image for which a backbone's MACs are counted."""
    latency_min: Milliseconds | None = None
    """Minimum of the latency in milliseconds at batch size 1, by the table `latencies` and at its image size."""
    latency_max: Milliseconds | None = None
    """Maximum of the latency in milliseconds at batch size 1, by the table `latencies` and at its image size."""
    # Absolute, since a run may be continued from another folder.
    latencies: Annotated[PathText, AfterValidator(lambda file: file and str(real_path(Path(file))))] | None = None
    """The table of measured latencies, of detectors or backbones as `of` says: a file that `detnas profile RECIPE
    --latency` wrote, relative to the current folder."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("latency_min", "latency_max"):
            if getattr(self, name) is not None and not self.latencies:
                raise without_table(f"{name} {getattr(self, name):g}")
        bounds = [name for name in BOUNDS if getattr(self, name) is not None]
        if bounds and "of" not in self.model_fields_set:
            raise ValueError(
                f"of is missing: say whose {' and '.join(bounds)} is meant, detector or backbone; in earlier versions "
                "it was the backbone"
            )
        if self.of == "detector" and self.size != SIZE:
            raise ValueError(f"size {self.size} is that of backbones; leave it out, or choose of: backbone")
        return self
