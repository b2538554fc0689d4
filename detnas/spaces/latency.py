"""Measured latencies of every (block, op) of a space, and of the detectors around its backbones, and their file."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from detnas.spaces.architecture import MOST_BLOCKS, MOST_OPS, PAPER_OPS
from detnas.spaces.cost import Cost, DetectorParts, Size
from detnas.utils.errors import UserError, describe_invalid
from detnas.utils.files import is_file, read_bounded, write_json
from detnas.utils.text import describe_value

MOST_BYTES = 2**22
"""Of a file of tables: one of 200 blocks and ten ops is a tenth of it."""
BackendName = Literal["eager", "onnxruntime"]
Positive = Annotated[int, Field(gt=0, le=10**12)]
NotNegative = Annotated[int, Field(ge=0, le=10**12)]
Text = Annotated[str, Field(max_length=1000)]
Row = Annotated[tuple[Positive | None, ...], Field(max_length=MOST_OPS)]
HeadRow = Annotated[tuple[NotNegative | None, ...], Field(max_length=MOST_OPS)]

REMEDY = "measure one by `detnas profile RECIPE --latency`"


@dataclass(frozen=True)
class LatencyTable:
    """Latencies of the stem and every (block, op) of a space on one device, batch 1, in microseconds.

    `blocks_us[b][o]` belongs to block b (from input to output) and op o of `ops`, and is None where that op is not
    allowed; equal blocks have equal rows. A network's latency is the stem's plus one entry a block. `height` and
    `width` are those of the input in pixels.

    With a `detector`, the latencies are those of whole detectors: `detector_us` is added, and for every convolution of
    the head that is chosen one entry of `head_us`, which has a row for each, tower by tower, as `blocks_us` has.
    """

    space: Text
    height: Positive
    width: Positive
    device: Text
    backend: BackendName
    threads: Positive
    stem_us: Positive
    blocks_us: Annotated[tuple[Row, ...], Field(max_length=MOST_BLOCKS)]
    ops: Annotated[tuple[Text, ...], Field(max_length=MOST_OPS)] = PAPER_OPS
    detector: dict[str, Any] | None = field(default=None, hash=False)
    """What is known of the detector that was measured; None: the latencies are those of backbones."""
    detector_us: NotNegative = 0
    """What is the same in all detectors: resizing the image, the pyramid, the rest of the heads, post-processing."""
    head_us: Annotated[tuple[HeadRow, ...], Field(max_length=MOST_BLOCKS)] = ()

    def __post_init__(self) -> None:
        for block, row in enumerate(self.blocks_us):
            if len(row) != len(self.ops):
                raise ValueError(f"blocks_us.{block} has {len(row)} entries, not one for each of {len(self.ops)} ops")

    @property
    def size(self) -> Size:
        return self.height, self.width

    def of(self, block: int, op: int) -> int:
        """The latency of an op that is allowed at a block."""
        latency = self.blocks_us[block][op]
        assert latency is not None  # a table that does not fit its space is refused
        return latency

    def added_to(self, parts: DetectorParts) -> DetectorParts:
        """The parts of a detector with their latencies. Raises `UserError` if the table has others."""
        known = [{op for op, one in enumerate(row) if one is not None} for row in self.head_us]
        if known != [set(row) for row in parts.head_rows]:
            raise UserError(f"budget.latencies: does not have what the head's convolutions can be; {REMEDY}")
        rows = (
            {op: replace(cost, latency=row[op] or 0) for op, cost in costs.items()}
            for row, costs in zip(self.head_us, parts.head_rows, strict=True)
        )
        heads = parts.heads + Cost(0, 0, self.detector_us)
        return replace(parts, heads=heads, head_rows=tuple(rows), latencies=self)


class _File(BaseModel):
    """What a file holds, as far as it is read."""

    model_config = ConfigDict(strict=True, hide_input_in_errors=True)

    tables: Annotated[tuple[LatencyTable, ...], Field(min_length=1, max_length=16)]


def write_latencies(path: Path, tables: Sequence[LatencyTable], **more: Any) -> None:
    """Write tables of one space on one device, one for each size of the input, and `more` facts as JSON."""
    write_json(path, {"tables": [asdict(table) for table in tables], **more})


def read_latencies(path: Path) -> tuple[LatencyTable, ...]:
    """Read tables from a file. Raises `UserError` if the file is missing or holds something else."""
    if not is_file(path):
        raise UserError(
            f"budget.latencies = {describe_value(str(path))}: no such file; name a table of latencies, or {REMEDY}"
        )
    try:
        return _File.model_validate_json(read_bounded(path, MOST_BYTES), strict=True).tables
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {REMEDY}") from None
    except ValidationError as error:
        raise UserError(f"{path}: not a table of latencies ({describe_invalid(error)}); {REMEDY}") from None


def find_table(
    tables: Sequence[LatencyTable], detector: Mapping[str, Any] | None, size: Size | None = None
) -> LatencyTable:
    """The table of inputs of a `size`, or without one the only table. Raises `UserError` if there is none, or if
    `detector` is not what was measured."""
    for table in tables:
        if (table.detector is None) != (detector is None):
            whose, of = ("backbones", "detector") if table.detector is None else ("whole detectors", "backbone")
            raise UserError(f"budget.latencies: those of {whose} do not fit budget.of {of}; {REMEDY}")
        for name, wanted in (detector or {}).items():
            known = (table.detector or {}).get(name)
            if known != wanted:
                raise UserError(
                    f"budget.latencies: measured with {name} {describe_value(known)}, not {describe_value(wanted)}; "
                    f"{REMEDY}"
                )
        if size in (None, table.size):
            return table
    assert size is not None
    sizes = " and ".join(f"{table.height}x{table.width}" for table in tables)
    raise UserError(f"budget.latencies: measured at {sizes} pixels, not at {size[0]}x{size[1]}; {REMEDY} --data DIR")
