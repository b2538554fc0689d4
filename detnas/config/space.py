"""The sections of a recipe on the search space and on what its networks may cost."""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from detnas.config.section import Count, PathText, Section
from detnas.spaces import PAPER_OPS, SearchSpace, search_space
from detnas.spaces.architecture import MOST_BLOCKS, MOST_OPS
from detnas.spaces.space import MOST_CHANNELS, MOST_STAGES, SPACES
from detnas.utils.errors import UserError
from detnas.utils.files import real_path

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
                raise without_table(f"{name} {getattr(self, name):g}")
        return self
