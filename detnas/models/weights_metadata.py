"""The metadata of a weights file, as one strict record: texts by key, most of them JSON.

Whoever reads a file that somebody else wrote believes nothing that has not passed here. Names are `NAME`s, numbers are
bounded, and unknown keys are refused: a file of another version has another `format`.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from detnas.config import DataSettings, DetectorSettings, Preprocessing
from detnas.config.detector import read_settings
from detnas.config.limits import MOST_CATEGORIES, MOST_ID, MOST_LETTERS
from detnas.config.section import Name, Section
from detnas.models.ops.shuffle import Shuffle
from detnas.spaces import PAPER_OPS, Architecture, SearchSpace
from detnas.spaces.architecture import MOST_BLOCKS, MOST_OPS
from detnas.spaces.space import MOST_CHANNELS, MOST_STAGES
from detnas.utils.errors import UserError, describe_invalid
from detnas.utils.json_text import parse_json

DETECTOR = "detnas-detector-1"
BACKBONE = "detnas-backbone-1"
"""What a file holds, and the version of its format."""

Json = BeforeValidator(lambda text: parse_json(text) if isinstance(text, str) else text)
Width = Annotated[int, Field(gt=0, le=MOST_CHANNELS)]
Widths = Annotated[list[Width], Field(max_length=MOST_STAGES)]
Repeats = Annotated[list[Annotated[int, Field(gt=0, le=MOST_BLOCKS)]], Field(max_length=MOST_STAGES)]
Op = Annotated[str, StringConstraints(max_length=300)]
CategoryId = Annotated[int, Field(gt=-MOST_ID, lt=MOST_ID)]
CategoryName = Annotated[str, StringConstraints(max_length=MOST_LETTERS)]


def _is_list(length: int) -> BeforeValidator:
    """JSON has no tuples."""

    def as_tuple(value: Any) -> Any:
        if not isinstance(value, list) or len(value) != length:
            raise ValueError(f"must be a list of {length}")
        return tuple(value)

    return BeforeValidator(as_tuple)


Space = Annotated[tuple[Name, Width, Widths, Repeats], _is_list(4), Json]
Strides = Annotated[list[Literal[1, 2]], Field(max_length=MOST_STAGES)]
Layout = Annotated[tuple[Name, Width | None, Strides], _is_list(3), Json]
Category = Annotated[tuple[CategoryId, CategoryName], _is_list(2)]
Categories = Annotated[list[Category], Field(min_length=1, max_length=MOST_CATEGORIES), Json]
Seed = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,19}$")]


def _reads(section: Callable[[Any], Section]) -> AfterValidator:
    """Makes a section of a recipe of its values."""

    def read(values: Any) -> Section:
        try:
            return section(values)
        except ValidationError as error:
            raise ValueError(describe_invalid(error)) from None

    return AfterValidator(read)


def _read_detector(settings: Any) -> DetectorSettings:
    if isinstance(settings, dict) and settings.get("type") == "retinanet":
        settings.setdefault("losses", "torchvision")  # of files from before there was a choice
    read = read_settings(settings)
    if read.anchor_sizes == "auto":
        raise ValueError("anchor_sizes of a detector are numbers")
    return read


class Metadata(BaseModel):
    """What every weights file says of its network."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, hide_input_in_errors=True, arbitrary_types_allowed=True
    )

    format: str
    space: Space
    """Name, channels of the stem and of each stage, blocks of each stage."""
    layout: Layout = ("shufflenet", None, [])
    """Family, channels of the stem's fixed block, stride of each stage."""
    ops: Annotated[list[Op], Field(max_length=MOST_OPS), Json] = list(PAPER_OPS)
    architecture: Annotated[Architecture, BeforeValidator(Architecture.parse)] | None = None
    """None of a supernet."""
    shuffle: Shuffle = "even_odd"
    versions: Annotated[dict[str, str], Json] = {}
    sha256: str | None = None

    def search_space(self) -> SearchSpace:
        """Raises `UserError` if it is none."""
        name, stem, channels, repeats = self.space
        family, first_block, strides = self.layout
        return SearchSpace(
            name, stem, tuple(channels), tuple(repeats), tuple(self.ops), tuple(strides), first_block, family
        )


class BackboneMetadata(Metadata):
    """What the file of a backbone alone says."""

    format: Literal["detnas-backbone-1"]
    preprocessing: Annotated[Any, _reads(Preprocessing.model_validate), Json]


class DetectorMetadata(Metadata):
    """What the file of a detector says. Files from before `data` and `seed` were kept have the defaults."""

    format: Literal["detnas-detector-1"]
    detector: Annotated[Any, _reads(_read_detector), Json]
    categories: Categories
    data: Annotated[Any, _reads(DataSettings.model_validate), Json] = DataSettings()
    seed: Seed = "0"


def read_metadata(texts: dict[str, str]) -> BackboneMetadata | DetectorMetadata:
    """The record of a file whose `format` is one of this version's.

    Raises `ValueError`, with one line that shows nothing of the file but keys, if it does not fit.
    """
    kind: type[BackboneMetadata] | type[DetectorMetadata]
    kind = BackboneMetadata if texts["format"] == BACKBONE else DetectorMetadata
    try:
        return kind.model_validate(texts)
    except ValidationError as error:
        raise ValueError(describe_invalid(error)) from None
    except UserError as error:
        raise ValueError(str(error)) from None
