"""Measured latencies of every (block, op) of a space, and their file."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from detnas.spaces.architecture import MOST_BLOCKS, MOST_OPS, PAPER_OPS
from detnas.utils.errors import UserError, describe_invalid
from detnas.utils.files import is_file, read_bounded, write_json
from detnas.utils.text import describe_value

MOST_BYTES = 2**22
"""Of a table's file: those of 200 blocks and ten ops are a tenth of it."""
BackendName = Literal["eager", "onnxruntime"]
Positive = Annotated[int, Field(gt=0, le=10**12)]
Text = Annotated[str, Field(max_length=1000)]
Row = Annotated[tuple[Positive | None, ...], Field(max_length=MOST_OPS)]

REMEDY = "measure one by `detnas profile RECIPE --latency`"


@dataclass(frozen=True)
class LatencyTable:
    """Latencies of the stem and every (block, op) of a space on one device, batch 1, in microseconds.

    `blocks_us[b][o]` belongs to block b (from input to output) and op o of `ops`, and is None where that op is not
    allowed; equal blocks have equal rows. A network's latency is the stem's plus one entry a block. `height` and
    `width` are those of the input in pixels.
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

    def __post_init__(self) -> None:
        for block, row in enumerate(self.blocks_us):
            if len(row) != len(self.ops):
                raise ValueError(f"blocks_us.{block} has {len(row)} entries, not one for each of {len(self.ops)} ops")

    def of(self, block: int, op: int) -> int:
        """The latency of an op that is allowed at a block."""
        latency = self.blocks_us[block][op]
        assert latency is not None  # a table that does not fit its space is refused
        return latency

    def write(self, path: Path, **more: Any) -> None:
        """Write the table and `more` facts as JSON."""
        facts = asdict(self)
        if self.ops == PAPER_OPS:
            del facts["ops"]  # as in the files of earlier versions
        write_json(path, facts | more)


def read_latencies(path: Path) -> LatencyTable:
    """Read a table from a file. Raises `UserError` if the file is missing or is not a table."""
    if not is_file(path):
        raise UserError(
            f"budget.latencies = {describe_value(str(path))}: no such file; name a table of latencies, or {REMEDY}"
        )
    try:
        return TypeAdapter(LatencyTable).validate_json(read_bounded(path, MOST_BYTES), strict=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {REMEDY}") from None
    except ValidationError as error:
        raise UserError(f"{path}: not a table of latencies ({describe_invalid(error)}); {REMEDY}") from None
